// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/kvtest"
)

// fileOf returns the file of a KV.
func fileOf(tb testing.TB, k kvcache.Key, kv *kvcache.KV) []byte {
	tb.Helper()
	s := openStore(tb, tb.TempDir(), Options{})
	require.NoError(tb, s.Put(ctx, k, kv))
	b, err := os.ReadFile(s.path(k))
	require.NoError(tb, err)
	return b
}

// refused puts a file in place of k's, and fails unless it is not served but quarantined, counted and reported, once.
func refused(tb testing.TB, s *Store, event *kvcache.CorruptEvent, k kvcache.Key, file []byte, what string, args ...any) {
	tb.Helper()
	require.NoError(tb, s.fs.Mkdir(s.folderOf(k).path))
	require.NoError(tb, os.WriteFile(s.path(k), file, 0o600))
	before := s.Metrics().Corrupt
	h, err := s.Get(ctx, k)
	if err == nil {
		h.Release()
		tb.Fatalf("served: "+what, args...)
	}
	var ce *kvcache.CorruptError
	require.ErrorAs(tb, err, &ce, what)
	require.Equal(tb, k, ce.Key)
	require.Equal(tb, s.path(k), ce.Where)
	require.Equal(tb, before+1, s.Metrics().Corrupt)
	require.Equal(tb, ce, event.Err)
	kept, err := os.ReadFile(event.Kept)
	require.NoError(tb, err)
	require.True(tb, bytes.Equal(file, kept))
	require.NoError(tb, os.Remove(event.Kept))
	_, err = s.Get(ctx, k)
	require.ErrorIs(tb, err, kvcache.ErrNotFound, what)
}

// watched opens a store and returns where it leaves the last CorruptEvent.
func watched(tb testing.TB) (*Store, *kvcache.CorruptEvent) {
	event := new(kvcache.CorruptEvent)
	return openStore(tb, tb.TempDir(), Options{Events: kvcache.EventListener{Corrupt: func(e kvcache.CorruptEvent) { *event = e }}}), event
}

// Every bit of a small file, fields, checksums, padding and data alike, and one bit of every byte of a larger one.
func TestFlippedBits(t *testing.T) {
	s, event := watched(t)
	small := kvcache.NewKV(kvcache.Shape{Layers: 2, KVHeads: 1, HeadDim: 1, Format: attention.I8}, 3)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range small.Data() {
		small.Data()[i] = byte(rng.Uint32())
	}
	step := 1
	if testing.Short() {
		step = 7
	}
	file := fileOf(t, keyOf(1), small)
	for bit := 0; bit < 8*len(file); bit += step {
		file[bit/8] ^= 1 << (bit % 8)
		refused(t, s, event, keyOf(1), file, "bit %d", bit)
		file[bit/8] ^= 1 << (bit % 8)
	}
	file = fileOf(t, keyOf(2), kvtest.NewKV(kvcache.Shape{Layers: 3, KVHeads: 1, HeadDim: 4}, 20, 9))
	for at := 0; at < len(file); at += step {
		bit := byte(1) << rng.IntN(8)
		file[at] ^= bit
		refused(t, s, event, keyOf(2), file, "byte %d", at)
		file[at] ^= bit
	}
	require.NoError(t, os.WriteFile(s.path(keyOf(2)), file, 0o600))
	h, err := s.Get(ctx, keyOf(2))
	require.NoError(t, err, "the file itself is right")
	h.Release()
}

func TestWrongLength(t *testing.T) {
	s, event := watched(t)
	file := fileOf(t, keyOf(1), makeKV(1))
	for n := range len(file) {
		if n < 400 || n%50 == 0 || n > len(file)-10 {
			refused(t, s, event, keyOf(1), file[:n], "cut to %d bytes", n)
		}
	}
	refused(t, s, event, keyOf(1), append(bytes.Clone(file), 0), "a trailing byte")
	refused(t, s, event, keyOf(1), append(bytes.Clone(file), file...), "twice")
	refused(t, s, event, keyOf(2), file, "the file of another key")
	require.Contains(t, event.Err.Reason, "key: "+keyOf(1).String())
}

// forge makes a header whose checksum is right.
func forge(file []byte, change func(b []byte)) []byte {
	b := bytes.Clone(file)
	change(b)
	h := min(int(binary.LittleEndian.Uint32(b[12:])), len(b))
	if h >= 4 {
		binary.LittleEndian.PutUint32(b[h-4:], crc32.Checksum(b[:h-4], crc32.MakeTable(crc32.Castagnoli)))
	}
	return b
}

// Headers that lie are refused by their numbers before anything of that size is made, with the region and the limit in the error.
func TestHostileHeaders(t *testing.T) {
	s, event := watched(t)
	file := fileOf(t, keyOf(1), makeKV(1))
	le := binary.LittleEndian
	for _, c := range []struct {
		reason string
		change func(b []byte)
	}{
		{"magic: 000000", func(b []byte) { clear(b[:8]) }},
		{"version: 2, want 1", func(b []byte) { b[8] = 2 }},
		{"layers: 0, must be in [1, 65536]", func(b []byte) { le.PutUint32(b[120:], 0) }},
		{"layers: 4294967295, must be in [1, 65536]", func(b []byte) { le.PutUint32(b[120:], math.MaxUint32) }},
		{"header length: 192 bytes, with 60 layers it takes 448", func(b []byte) { le.PutUint32(b[120:], 60) }},
		{"header: 262336 bytes, of which there are 1344", func(b []byte) { le.PutUint32(b[120:], 65536); le.PutUint32(b[12:], 262336) }},
		{"cost: NaN seconds", func(b []byte) { le.PutUint64(b[112:], math.Float64bits(math.NaN())) }},
		{"cost: -1 seconds", func(b []byte) { le.PutUint64(b[112:], math.Float64bits(-1)) }},
		{"shape: 4294967295 heads × head dim 4, the limit is 2147483647", func(b []byte) { le.PutUint32(b[124:], math.MaxUint32) }},
		{"shape: kvcache: no KV of 2 layers × 2147483647 KV heads × head dim 4 × 2 tokens", func(b []byte) { le.PutUint32(b[124:], math.MaxInt32) }},
		{"every dimension must be positive", func(b []byte) { le.PutUint32(b[128:], 0) }},
		{"format: 256, the limit is 255", func(b []byte) { le.PutUint32(b[132:], 256) }},
		{"unknown format", func(b []byte) { le.PutUint32(b[132:], 77) }},
		{"tokens: 18446744073709551615, the limit is 2147483647", func(b []byte) { le.PutUint64(b[136:], math.MaxUint64) }},
		{"layer length: 576 bytes, the shape takes 448", func(b []byte) { le.PutUint64(b[136:], 0); le.PutUint32(b[128:], 3); le.PutUint64(b[136:], 2) }},
		{"layer length: 64 bytes, the shape takes 576", func(b []byte) { le.PutUint64(b[144:], 64) }},
		{"file length: 1344 bytes", func(b []byte) { le.PutUint64(b[136:], 15); le.PutUint64(b[144:], 1024) }},
		{"padding: byte 180 is 0x01, must be 0", func(b []byte) { b[180] = 1 }},
		{"layer 1: checksum", func(b []byte) { b[156]++ }},
	} {
		forged := forge(file, c.change)
		refused(t, s, event, keyOf(1), forged, "%s", c.reason)
		if !assertContains(event.Err.Reason, c.reason) {
			t.Errorf("%q, want %q", event.Err.Reason, c.reason)
		}
	}
}

func assertContains(s, part string) bool { return bytes.Contains([]byte(s), []byte(part)) }

// A huge sparse file is refused by its header; nothing of its size is mapped or made.
func TestSparseFile(t *testing.T) {
	s, _ := watched(t)
	k := keyOf(1)
	require.NoError(t, s.fs.Mkdir(s.folderOf(k).path))
	require.NoError(t, os.WriteFile(s.path(k), fileOf(t, k, makeKV(1)), 0o600))
	if err := os.Truncate(s.path(k), 1<<39); err != nil {
		t.Skip(err)
	}
	_, err := s.Get(ctx, k)
	var ce *kvcache.CorruptError
	require.ErrorAs(t, err, &ce)
	require.Contains(t, ce.Reason, "file length: 549755813888 bytes, the header makes it ")
	require.Empty(t, files(t, s.root, func(name string) bool { return assertContains(name, k.String()) }), "too large for the quarantine")
}

// The quarantine does not grow beyond its limits.
func TestQuarantineIsBounded(t *testing.T) {
	s, event := watched(t)
	require.NoError(t, s.fs.Mkdir(s.folderOf(keyOf(1)).path))
	jail := filepath.Join(s.root, "quarantine")
	for range 2 * maxQuarantined {
		require.NoError(t, os.WriteFile(s.path(keyOf(1)), []byte("bad"), 0o600))
		_, err := s.Get(ctx, keyOf(1))
		require.Error(t, err)
		require.FileExists(t, event.Kept)
	}
	all := func(string) bool { return true }
	require.Len(t, files(t, jail, all), maxQuarantined)
	for range 5 {
		require.NoError(t, os.WriteFile(s.path(keyOf(1)), nil, 0o600))
		require.NoError(t, os.Truncate(s.path(keyOf(1)), maxQuarantinedBytes/2))
		_, err := s.Get(ctx, keyOf(1))
		require.Error(t, err)
	}
	require.Len(t, files(t, jail, all), 2)
	require.EqualValues(t, 2*maxQuarantined+5, s.Metrics().Corrupt)
}

// A damaged file is counted once, however many ask for it at the same time.
func TestDamageIsCountedOnce(t *testing.T) {
	s, _ := watched(t)
	put(t, s, 1)
	require.NoError(t, os.Truncate(s.path(keyOf(1)), 500))
	errs := make(chan error)
	for range 8 {
		go func() {
			_, err := s.Get(ctx, keyOf(1))
			errs <- err
		}()
	}
	for range 8 {
		require.Error(t, <-errs)
	}
	require.EqualValues(t, 1, s.Metrics().Corrupt)
	require.EqualValues(t, 8, s.Metrics().Misses)
	put(t, s, 1) // encoded again
	require.True(t, has(t, s, 1))
}

// What is not an entry is neither read nor removed.
func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	put(t, s, 1)
	folder := s.folderOf(keyOf(1)).path
	require.NoError(t, s.Close())
	k := keyOf(1).String()
	other := append([]byte("00"), k[2:]...)
	if k[:2] == "00" {
		other[0] = '1'
	}
	names := []string{"README", k, k + ".kv.bak", string(bytes.ToUpper([]byte(k))) + ".kv", string(other) + ".kv", k[1:] + ".kv", "tmp-", "tmp-x"}
	for _, name := range names {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte("x"), 0o600))
	}
	require.NoError(t, os.Mkdir(filepath.Join(folder, keyOf(1<<40).String()+".kv"), 0o700))
	s = openStore(t, dir, Options{})
	require.Equal(t, 1, s.Metrics().Entries)
	for _, name := range names {
		require.FileExists(t, filepath.Join(folder, name))
	}
}

// A folder under an entry's name, and a file that appears to shrink while it is verified, are errors and nothing worse.
func TestNotAFile(t *testing.T) {
	s, _ := watched(t)
	require.NoError(t, os.MkdirAll(s.path(keyOf(1)), 0o700))
	_, err := s.Get(ctx, keyOf(1))
	require.ErrorContains(t, err, "not a regular file")
	require.EqualValues(t, 1, s.Metrics().Failures)
	require.DirExists(t, s.path(keyOf(1)))
}

func FuzzHeader(f *testing.F) {
	file := fileOf(f, keyOf(1), makeKV(1))
	f.Add(file, int64(len(file)), false)
	f.Add(file[:192], int64(len(file)), true)
	f.Add([]byte(magic), int64(0), false)
	f.Fuzz(func(t *testing.T, b []byte, size int64, seal bool) {
		if seal && len(b) >= 16 {
			b = forge(b, func([]byte) {})
		}
		h, err := parseHeader(b, size)
		if err != nil {
			var d *damage
			if !errors.As(err, &d) || d.region == "" || d.reason == "" {
				t.Fatalf("error %#v", err)
			}
			return
		}
		if again := h.encode(); !bytes.Equal(again, b[:len(again)]) {
			t.Fatalf("the header\n%x is written as\n%x", b[:len(again)], again)
		}
		data, err := h.shape.Bytes(h.tokens)
		if err != nil || data != h.dataLen() || h.fileLen() != size {
			t.Fatalf("shape %+v × %d: %d bytes, %v; header says %d of %d", h.shape, h.tokens, data, err, h.dataLen(), size)
		}
	})
}
