// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package disk

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/kvcache"
)

// passage is the KV of 200 tokens of SmolLM2 135M in f16: 4.7 MB.
func passage() *kvcache.KV {
	kv := kvcache.NewKV(kvcache.Shape{Layers: 30, KVHeads: 3, HeadDim: 64, Format: attention.F16}, 200)
	for i := range kv.Data() {
		kv.Data()[i] = byte(i * 7 >> 3)
	}
	return kv
}

func BenchmarkPut(b *testing.B) {
	s := openStore(b, b.TempDir(), Options{})
	kv := passage()
	b.SetBytes(kv.Bytes())
	for b.Loop() {
		if err := s.Put(ctx, keyOf(1), kv); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGetWarm is a Get of a mapped entry; its rate is that at which KVs become available, none of which is copied.
func BenchmarkGetWarm(b *testing.B) {
	s := openStore(b, b.TempDir(), Options{})
	require.NoError(b, s.Put(ctx, keyOf(1), passage()))
	b.ReportAllocs()
	b.SetBytes(passage().Bytes())
	for b.Loop() {
		h, err := s.Get(ctx, keyOf(1))
		if err != nil {
			b.Fatal(err)
		}
		h.Release()
	}
}

// BenchmarkGetWarmSum also reads every byte, as attention does; BenchmarkSum is what the same sum reaches on memory.
func BenchmarkGetWarmSum(b *testing.B) {
	s := openStore(b, b.TempDir(), Options{})
	require.NoError(b, s.Put(ctx, keyOf(1), passage()))
	b.SetBytes(passage().Bytes())
	for b.Loop() {
		h, err := s.Get(ctx, keyOf(1))
		if err != nil {
			b.Fatal(err)
		}
		sink += sum(h.KV().Data())
		h.Release()
	}
}

func BenchmarkSum(b *testing.B) {
	kv := passage()
	b.SetBytes(kv.Bytes())
	for b.Loop() {
		sink += sum(kv.Data())
	}
}

var sink uint64

func sum(b []byte) (total uint64) {
	var x [4]uint64
	for len(b) >= 32 {
		for i := range x {
			x[i] += binary.LittleEndian.Uint64(b[8*i:])
		}
		b = b[32:]
	}
	return x[0] + x[1] + x[2] + x[3]
}

// BenchmarkGetCold opens, maps and verifies the file each time; the system has its pages in memory.
func BenchmarkGetCold(b *testing.B) {
	s := openStore(b, b.TempDir(), Options{})
	require.NoError(b, s.Put(ctx, keyOf(1), passage()))
	b.SetBytes(passage().Bytes())
	for b.Loop() {
		h, err := s.Get(ctx, keyOf(1))
		if err != nil {
			b.Fatal(err)
		}
		h.Release()
		s.mu.Lock()
		s.detach(s.idle.list.Front().Value.(*view))
		s.unlock()
	}
}

// BenchmarkChecksum is the limit of BenchmarkGetCold: the same checksums of memory.
func BenchmarkChecksum(b *testing.B) {
	kv := passage()
	b.SetBytes(kv.Bytes())
	for b.Loop() {
		crc32.Checksum(kv.Data(), castagnoli)
	}
}

func BenchmarkMiss(b *testing.B) {
	s := openStore(b, b.TempDir(), Options{})
	for b.Loop() {
		if _, err := s.Get(ctx, keyOf(1)); err == nil {
			b.Fatal("found")
		}
	}
}

// BenchmarkOpen scans 100,000 entries.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	h := header{shape: shape, tokens: 1, sums: make([]uint32, shape.Layers)}
	var err error
	h.layer, err = shape.LayerBytes(1)
	require.NoError(b, err)
	for i := range uint64(100_000) {
		h.key = keyOf(i)
		folder := filepath.Join(dir, versionFolder, h.key.String()[:2])
		if i < 10_000 {
			require.NoError(b, os.MkdirAll(folder, 0o755))
		}
		file := append(h.encode(), make([]byte, h.dataLen())...)
		require.NoError(b, os.WriteFile(filepath.Join(folder, h.key.String()+extension), file, 0o644))
	}
	for _, budget := range []int64{0, 100_000 * blockSize} {
		b.Run(fmt.Sprintf("budget=%d", budget), func(b *testing.B) {
			for b.Loop() {
				s, err := Open(dir, Options{Budget: budget})
				if err != nil {
					b.Fatal(err)
				}
				if n := s.Metrics().Entries; n != 100_000 {
					b.Fatalf("%d entries", n)
				}
				b.StopTimer()
				require.NoError(b, s.Close())
				b.StartTimer()
			}
		})
	}
}
