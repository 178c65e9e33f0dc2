// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package redis

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/kvcache"
)

// drawKV returns a KV of a drawn shape with drawn info, filled with bytes that depend on their place.
func drawKV(t *rapid.T) *kvcache.KV {
	s := kvcache.Shape{
		Layers:  rapid.IntRange(1, 9).Draw(t, "layers"),
		KVHeads: rapid.IntRange(1, 3).Draw(t, "heads"),
		HeadDim: rapid.IntRange(1, 9).Draw(t, "dim"),
		Format:  rapid.SampledFrom(attention.Formats()).Draw(t, "format"),
	}
	kv := kvcache.NewKV(s, rapid.IntRange(0, 40).Draw(t, "tokens"))
	seed := rapid.Byte().Draw(t, "seed")
	for i := range kv.Data() {
		kv.Data()[i] = byte(i*7+i>>8) + seed
	}
	var info kvcache.Info
	copy(info.Model[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "model"))
	copy(info.Scope[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "scope"))
	info.Cost = rapid.Float64Range(0, 1e6).Draw(t, "cost")
	kv.SetInfo(info)
	return kv
}

func TestHeaderRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kv := drawKV(t)
		var k kvcache.Key
		copy(k[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "key"))
		h := newHeader(k, kv, rapid.Uint64().Draw(t, "generation"))
		got, err := decode(k, h.encode())
		require.NoError(t, err)
		require.Equal(t, h, got)

		// The chunks are the data, in order and without gaps, whatever their size.
		h.chunk = int64(rapid.IntRange(1, 5000).Draw(t, "chunk"))
		var joined []byte
		for i := range h.shape.Layers * h.chunks() {
			part := h.part(kv.Data(), i)
			require.NotEmpty(t, part)
			require.LessOrEqual(t, int64(len(part)), h.chunk)
			joined = append(joined, part...)
		}
		require.True(t, bytes.Equal(kv.Data(), joined))
	})
}

func TestHeaderBitFlips(t *testing.T) {
	k := kvcache.Key{1, 2, 3}
	kv := kvcache.NewKV(kvcache.Shape{Layers: 5, KVHeads: 1, HeadDim: 4}, 3)
	kv.SetInfo(kvcache.Info{Model: [32]byte{7}, Scope: [32]byte{8}, Cost: 0.5})
	b := newHeader(k, kv, 42).encode()
	require.Len(t, b, fixedBytes+4*5+4)
	for i := range b {
		for bit := range 8 {
			b[i] ^= 1 << bit
			_, err := decode(k, b)
			require.Error(t, err, "bit %d of byte %d", bit, i)
			b[i] ^= 1 << bit
		}
	}
	for n := range b {
		_, err := decode(k, b[:n])
		require.Error(t, err, "%d of %d bytes", n, len(b))
	}
	_, err := decode(kvcache.Key{1, 2, 4}, b)
	require.ErrorContains(t, err, "the header is of 0102030000")
}

// Headers with a right checksum that nobody would write.
func TestHeaderNonsense(t *testing.T) {
	k := kvcache.Key{1}
	good := newHeader(k, kvcache.NewKV(kvcache.Shape{Layers: 2, KVHeads: 1, HeadDim: 4}, 3), 42).encode()
	const shapeAt = len(magic) + 4 + 3*32
	for name, c := range map[string]struct {
		at   int
		b    []byte
		want string
	}{
		"magic":        {0, []byte("x"), "begins with"},
		"version":      {len(magic), []byte{2}, "version 2"},
		"no layers":    {shapeAt, make([]byte, 4), "positive"},
		"many layers":  {shapeAt, []byte{3}, "checksums for 3 layers"},
		"huge layers":  {shapeAt, []byte{255, 255, 255, 255}, "4294967295 layers"},
		"format":       {shapeAt + 12, []byte{200}, "unknown format"},
		"wide format":  {shapeAt + 12, []byte{0, 1}, "format 256"},
		"tokens":       {shapeAt + 16, []byte{0, 0, 0, 0, 0, 0, 0, 255}, "tokens"},
		"layer bytes":  {shapeAt + 40, []byte{1}, "a layer of"},
		"no chunk":     {shapeAt + 48, make([]byte, 8), "chunks of 0"},
		"tiny chunk":   {shapeAt + 48, []byte{1, 0, 0, 0, 0, 0, 0, 0}, "chunks of 1 bytes"}, // whose names alone may be more than there is memory
		"huge chunk":   {shapeAt + 48, []byte{0, 0, 0, 0, 0, 0, 0, 255}, "chunks of 1837"},
		"empty tokens": {shapeAt + 16, make([]byte, 8), "a layer of"},
	} {
		b := bytes.Clone(good[:len(good)-4])
		copy(b[c.at:], c.b)
		_, err := decode(k, binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)))
		require.ErrorContains(t, err, c.want, name)
	}
}

// What decodes is written as it was read.
func FuzzDecode(f *testing.F) {
	kv := kvcache.NewKV(kvcache.Shape{Layers: 2, KVHeads: 1, HeadDim: 4}, 3)
	f.Add(newHeader(kvcache.Key{}, kv, 42).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		// A checksum that is right, or the fuzzer gets no further.
		if len(b) >= 4 {
			body := b[:len(b)-4]
			b = binary.LittleEndian.AppendUint32(bytes.Clone(body), crc32.Checksum(body, castagnoli))
		}
		h, err := decode(kvcache.Key{}, b)
		if err == nil && !bytes.Equal(h.encode(), b) {
			t.Errorf("%+v is written differently from what was read", h)
		}
	})
}
