// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package disk

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/kvcache"
)

// The offsets of the header's fields; doc.go has the table.
const (
	magic   = "\x89GKV\r\n\x1a\n" // as PNG's: a transfer that mangles text or strips a bit mangles it
	version = 1

	atVersion  = 8
	atHeader   = 12
	atKey      = 16
	atModel    = 48
	atScope    = 80
	atCost     = 112
	atLayers   = 120
	atKVHeads  = 124
	atHeadDim  = 128
	atFormat   = 132
	atTokens   = 136
	atLayer    = 144
	atChecksum = 152 // of layer 0

	align = kvcache.Align // of the header's length, and so of the first layer
)

// maxLayers bounds what a header may claim, and so how long it may be: 256 KiB.
const maxLayers = 1 << 16

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is what a file says about its KV.
type header struct {
	key    kvcache.Key
	info   kvcache.Info
	shape  kvcache.Shape
	tokens int
	layer  int64    // bytes of a layer
	sums   []uint32 // CRC-32C of each layer
}

// damage says which region of a file is wrong, and how.
type damage struct{ region, reason string }

func (d *damage) Error() string { return d.region + ": " + d.reason }

func damaged(region, format string, args ...any) error {
	return &damage{region, fmt.Sprintf(format, args...)}
}

// newHeader makes the header of a KV's file, checksums included.
func newHeader(k kvcache.Key, kv *kvcache.KV) (*header, error) {
	h := &header{key: k, info: kv.Info(), shape: kv.Shape(), tokens: kv.Tokens()}
	if h.shape.Layers > maxLayers {
		return nil, fmt.Errorf("a KV of %d layers, a file holds at most %d", h.shape.Layers, maxLayers)
	}
	if !(h.info.Cost >= 0 && h.info.Cost <= math.MaxFloat64) { // negative, infinite or not a number: nobody measured it
		h.info.Cost = 0
	}
	h.layer = kv.Bytes() / int64(h.shape.Layers)
	h.sums = make([]uint32, h.shape.Layers)
	for l := range h.sums {
		h.sums[l] = crc32.Checksum(h.layerOf(kv.Data(), l), castagnoli)
	}
	return h, nil
}

// headerLen returns the length of the header of a file with that many layers: fields, checksums, padding, and the header's own checksum.
func headerLen(layers int) int64 {
	return (atChecksum + 4*int64(layers) + 4 + align - 1) &^ (align - 1)
}

// dataLen returns the bytes of all layers.
func (h *header) dataLen() int64 { return h.layer * int64(h.shape.Layers) }

// fileLen returns the length of the file.
func (h *header) fileLen() int64 { return headerLen(h.shape.Layers) + h.dataLen() }

// layerOf returns layer l of the data.
func (h *header) layerOf(data []byte, l int) []byte { return data[h.layer*int64(l):][:h.layer] }

// encode returns the header as it stands in the file.
func (h *header) encode() []byte {
	b := make([]byte, headerLen(h.shape.Layers))
	le := binary.LittleEndian
	copy(b, magic)
	le.PutUint32(b[atVersion:], version)
	le.PutUint32(b[atHeader:], uint32(len(b)))
	copy(b[atKey:], h.key[:])
	copy(b[atModel:], h.info.Model[:])
	copy(b[atScope:], h.info.Scope[:])
	le.PutUint64(b[atCost:], math.Float64bits(h.info.Cost))
	le.PutUint32(b[atLayers:], uint32(h.shape.Layers))
	le.PutUint32(b[atKVHeads:], uint32(h.shape.KVHeads))
	le.PutUint32(b[atHeadDim:], uint32(h.shape.HeadDim))
	le.PutUint32(b[atFormat:], uint32(h.shape.Format))
	le.PutUint64(b[atTokens:], uint64(h.tokens))
	le.PutUint64(b[atLayer:], uint64(h.layer))
	for l, sum := range h.sums {
		le.PutUint32(b[atChecksum+4*l:], sum)
	}
	end := len(b) - 4
	le.PutUint32(b[end:], crc32.Checksum(b[:end], castagnoli))
	return b
}

// headerLenOf returns the length of the header that begins with b, of which atChecksum bytes suffice. It believes nothing else.
func headerLenOf(b []byte) (int64, error) {
	le := binary.LittleEndian
	if len(b) < atChecksum {
		return 0, damaged("header", "%d bytes, its fields take %d", len(b), atChecksum)
	}
	if string(b[:atVersion]) != magic {
		return 0, damaged("magic", "%x, want %x", b[:atVersion], magic)
	}
	if v := le.Uint32(b[atVersion:]); v != version {
		return 0, damaged("version", "%d, want %d", v, version)
	}
	layers := le.Uint32(b[atLayers:])
	if layers < 1 || layers > maxLayers {
		return 0, damaged("layers", "%d, must be in [1, %d]", layers, maxLayers)
	}
	n := headerLen(int(layers))
	if got := le.Uint32(b[atHeader:]); int64(got) != n {
		return 0, damaged("header length", "%d bytes, with %d layers it takes %d", got, layers, n)
	}
	return n, nil
}

// parseHeader reads a header at the start of b, and checks that it makes sense as that of a file of size bytes. It allocates no more than b
// has. The errors are *damage.
func parseHeader(b []byte, size int64) (*header, error) {
	n, err := headerLenOf(b)
	if err != nil {
		return nil, err
	}
	if n > int64(len(b)) {
		return nil, damaged("header", "%d bytes, of which there are %d", n, len(b))
	}
	b = b[:n]
	le, end := binary.LittleEndian, int(n-4)
	if got, want := crc32.Checksum(b[:end], castagnoli), le.Uint32(b[end:]); got != want {
		return nil, damaged("header", "checksum %08x, want %08x", got, want)
	}
	h := &header{tokens: -1}
	copy(h.key[:], b[atKey:])
	copy(h.info.Model[:], b[atModel:])
	copy(h.info.Scope[:], b[atScope:])
	h.info.Cost = math.Float64frombits(le.Uint64(b[atCost:]))
	if !(h.info.Cost >= 0 && h.info.Cost <= math.MaxFloat64) {
		return nil, damaged("cost", "%v seconds, must be in [0, %v]", h.info.Cost, math.MaxFloat64)
	}
	layers, kvHeads, headDim, format := le.Uint32(b[atLayers:]), le.Uint32(b[atKVHeads:]), le.Uint32(b[atHeadDim:]), le.Uint32(b[atFormat:])
	tokens := le.Uint64(b[atTokens:])
	switch {
	case kvHeads > math.MaxInt32 || headDim > math.MaxInt32:
		return nil, damaged("shape", "%d heads × head dim %d, the limit is %d", kvHeads, headDim, math.MaxInt32)
	case format > math.MaxUint8:
		return nil, damaged("format", "%d, the limit is %d", format, math.MaxUint8)
	case tokens > attention.MaxTokens:
		return nil, damaged("tokens", "%d, the limit is %d", tokens, attention.MaxTokens)
	}
	h.shape = kvcache.Shape{Layers: int(layers), KVHeads: int(kvHeads), HeadDim: int(headDim), Format: attention.Format(format)}
	h.tokens = int(tokens)
	if h.layer, err = h.shape.LayerBytes(h.tokens); err != nil {
		return nil, damaged("shape", "%v", err)
	}
	if got := le.Uint64(b[atLayer:]); got != uint64(h.layer) {
		return nil, damaged("layer length", "%d bytes, the shape takes %d", got, h.layer)
	}
	if size != h.fileLen() {
		return nil, damaged("file length", "%d bytes, the header makes it %d", size, h.fileLen())
	}
	pad := atChecksum + 4*int(layers)
	for i, x := range b[pad:end] {
		if x != 0 {
			return nil, damaged("padding", "byte %d is %#02x, must be 0", pad+i, x)
		}
	}
	h.sums = make([]uint32, layers)
	for l := range h.sums {
		h.sums[l] = le.Uint32(b[atChecksum+4*l:])
	}
	return h, nil
}

// checkLayer compares layer l, given as its bytes, with its checksum.
func (h *header) checkLayer(l int, sum uint32) error {
	if sum != h.sums[l] {
		return damaged(fmt.Sprintf("layer %d", l), "checksum %08x, want %08x", sum, h.sums[l])
	}
	return nil
}
