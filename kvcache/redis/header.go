// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package redis

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"strconv"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/kvcache"
)

const (
	magic   = "GKVredis"
	version = 1 // also in the name of every value
	// chunkBytes is how long a new chunk is at most. A server allows 512 MB, and is fastest with about this much.
	chunkBytes = 1 << 20
	// leastChunkBytes is the shortest that a header may say chunks are. It bounds how many names a hostile one stands for.
	leastChunkBytes = 64 << 10
	// fixedBytes is the size of a header without its checksums.
	fixedBytes = len(magic) + 4 + 3*32 + 4*4 + 5*8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header describes a node. It is stored as, all numbers little-endian,
//
//	magic ‖ u32(version) ‖ key ‖ model ‖ scope ‖ u32(layers) ‖ u32(KV heads) ‖ u32(head dim) ‖ u32(format)
//	‖ u64(tokens) ‖ f64(cost) ‖ u64(generation) ‖ u64(bytes of a layer) ‖ u64(bytes of a chunk)
//	‖ u32(CRC-32C of a layer)… ‖ u32(CRC-32C of all that is before)
type header struct {
	key        kvcache.Key
	info       kvcache.Info
	shape      kvcache.Shape
	tokens     int
	generation uint64
	layer      int64 // bytes
	chunk      int64 // bytes, the last of a layer may be shorter
	sums       []uint32
}

// newHeader describes kv, of which it computes the checksums.
func newHeader(k kvcache.Key, kv *kvcache.KV, generation uint64) *header {
	data := kv.Data()
	h := &header{
		key: k, info: kv.Info(), shape: kv.Shape(), tokens: kv.Tokens(), generation: generation,
		layer: int64(len(data) / kv.Shape().Layers), chunk: chunkBytes, sums: make([]uint32, kv.Shape().Layers),
	}
	for l := range h.sums {
		h.sums[l] = crc32.Checksum(h.of(data, l), castagnoli)
	}
	return h
}

// of returns layer l of the data of a KV.
func (h *header) of(data []byte, l int) []byte {
	return data[int64(l)*h.layer : int64(l+1)*h.layer]
}

// chunks returns the number of chunks of a layer.
func (h *header) chunks() int { return int((h.layer + h.chunk - 1) / h.chunk) }

// part returns the chunk with that number, of all the node's, of the data of a KV.
func (h *header) part(data []byte, number int) []byte {
	layer := h.of(data, number/h.chunks())
	from := int64(number%h.chunks()) * h.chunk
	return layer[from:min(from+h.chunk, h.layer)]
}

// name returns the name of the chunk with that number. node is the name of the header.
func (h *header) name(node string, number int) string {
	b := make([]byte, 0, len(node)+32)
	b = append(append(b, node...), ':')
	b = strconv.AppendUint(b, h.generation, 16)
	b = strconv.AppendInt(append(b, ':'), int64(number), 10)
	return string(b)
}

// names returns the names of all chunks.
func (h *header) names(node string) []string {
	names := make([]string, h.shape.Layers*h.chunks())
	for i := range names {
		names[i] = h.name(node, i)
	}
	return names
}

func (h *header) encode() []byte {
	b := make([]byte, 0, fixedBytes+4*len(h.sums)+4)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = append(append(append(b, h.key[:]...), h.info.Model[:]...), h.info.Scope[:]...)
	for _, n := range [...]int{h.shape.Layers, h.shape.KVHeads, h.shape.HeadDim, int(h.shape.Format)} {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	for _, n := range [...]uint64{uint64(h.tokens), math.Float64bits(h.info.Cost), h.generation, uint64(h.layer), uint64(h.chunk)} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	for _, sum := range h.sums {
		b = binary.LittleEndian.AppendUint32(b, sum)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decode reads a header. The error says what is wrong with it; a header without error can be used without further checks.
func decode(k kvcache.Key, b []byte) (*header, error) {
	if len(b) < fixedBytes+4 {
		return nil, fmt.Errorf("the header has %d bytes, at least %d are needed", len(b), fixedBytes+4)
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return nil, fmt.Errorf("the header's checksum is %08x, stored is %08x", got, sum)
	}
	r := reader{body}
	if m, v := r.bytes(len(magic)), r.uint32(); string(m) != magic || v != version {
		return nil, fmt.Errorf("the header begins with %q, version %d", m, v)
	}
	h := new(header)
	copy(h.key[:], r.bytes(32))
	copy(h.info.Model[:], r.bytes(32))
	copy(h.info.Scope[:], r.bytes(32))
	layers, heads, dim, format := r.uint32(), r.uint32(), r.uint32(), r.uint32()
	tokens := r.uint64()
	h.info.Cost = math.Float64frombits(r.uint64())
	h.generation = r.uint64()
	layer, chunk := r.uint64(), r.uint64()
	switch {
	case !bytes.Equal(h.key[:], k[:]):
		return nil, fmt.Errorf("the header is of %v", h.key)
	case max(layers, heads, dim) > math.MaxInt32 || format > math.MaxUint8 || tokens > attention.MaxTokens:
		return nil, fmt.Errorf("the header says %d layers × %d KV heads × head dim %d × %d tokens in format %d", layers, heads, dim, tokens, format)
	}
	h.shape = kvcache.Shape{Layers: int(layers), KVHeads: int(heads), HeadDim: int(dim), Format: attention.Format(format)}
	h.tokens = int(tokens)
	want, err := h.shape.LayerBytes(h.tokens)
	switch {
	case err != nil:
		return nil, err
	case layer != uint64(want):
		return nil, fmt.Errorf("a layer of %d bytes, of this shape it takes %d", layer, want)
	case chunk < leastChunkBytes || chunk > kvcache.MaxKVBytes:
		return nil, fmt.Errorf("chunks of %d bytes", chunk)
	case len(r.b) != 4*h.shape.Layers:
		return nil, fmt.Errorf("%d bytes of checksums for %d layers", len(r.b), h.shape.Layers)
	}
	h.layer, h.chunk = want, int64(chunk)
	h.sums = make([]uint32, h.shape.Layers)
	for l := range h.sums {
		h.sums[l] = r.uint32()
	}
	return h, nil
}

// reader takes numbers off the front of bytes, of which there must be enough.
type reader struct{ b []byte }

func (r *reader) bytes(n int) []byte {
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) uint32() uint32 { return binary.LittleEndian.Uint32(r.bytes(4)) }
func (r *reader) uint64() uint64 { return binary.LittleEndian.Uint64(r.bytes(8)) }
