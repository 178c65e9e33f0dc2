// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache"
)

func TestEntries(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	put(t, s, 0, 1, 2, 3, 4, 5)
	require.NoError(t, os.WriteFile(s.path(keyOf(5)), []byte("damaged"), 0o600))
	want := map[kvcache.Key]uint64{}
	for seed := range uint64(6) {
		want[keyOf(seed)] = seed
	}
	var last kvcache.Key
	for e, err := range s.Entries(ctx) {
		require.Negative(t, bytes.Compare(last[:], e.Key[:]), "in the order of keys")
		last = e.Key
		seed, ok := want[e.Key]
		require.True(t, ok)
		delete(want, e.Key)
		require.EqualValues(t, blockSize, e.Bytes)
		require.False(t, e.Used.IsZero())
		if seed == 5 {
			var ce *kvcache.CorruptError
			require.ErrorAs(t, err, &ce)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, infoOf(seed), e.Info)
		require.Equal(t, shape, e.Shape)
		require.Equal(t, tokensOf(seed), e.Tokens)
	}
	require.Empty(t, want)
	for range s.Entries(ctx) {
		break
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	for e, err := range s.Entries(ended) {
		require.ErrorIs(t, err, context.Canceled)
		require.Zero(t, e)
	}
	require.FileExists(t, s.path(keyOf(5)), "listing moves nothing")

	good, bad := 0, 0
	require.NoError(t, s.Verify(ctx, func(e Entry, err error) {
		if err == nil {
			good++
			return
		}
		bad++
		require.Equal(t, keyOf(5), e.Key)
	}))
	require.Equal(t, []int{5, 1}, []int{good, bad})
	require.NoFileExists(t, s.path(keyOf(5)))
	require.EqualValues(t, 1, s.Metrics().Corrupt)
	require.NoError(t, s.Verify(ctx, nil))
	require.ErrorIs(t, s.Verify(ended, func(Entry, error) {}), context.Canceled)

	model := [32]byte{1} // of 1 and 4
	n, size, err := s.DeleteFunc(ctx, func(e Entry) bool { return e.Info.Model == model })
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.EqualValues(t, 2*blockSize, size)
	for seed := range uint64(6) {
		require.Equal(t, seed != 1 && seed != 4 && seed != 5, has(t, s, seed))
	}
	require.EqualValues(t, 2, s.Metrics().Deletes)
	checkMetrics(t, s)
}

func TestExportImport(t *testing.T) {
	a, b := openStore(t, t.TempDir(), Options{}), openStore(t, t.TempDir(), Options{})
	for seed := range uint64(30) {
		put(t, a, seed)
	}
	require.NoError(t, os.Truncate(a.path(keyOf(7)), 1000))
	var archive bytes.Buffer
	n, err := a.Export(ctx, &archive, nil)
	require.NoError(t, err)
	require.Equal(t, 29, n)
	require.EqualValues(t, 1, a.Metrics().Corrupt)
	put(t, b, 1)
	in := io.MultiReader(bytes.NewReader(archive.Bytes()), bytes.NewReader([]byte("what follows")))
	kept, err := b.Import(ctx, in)
	require.NoError(t, err)
	require.Equal(t, 29, kept)
	for seed := range uint64(30) {
		require.Equal(t, seed != 7, has(t, b, seed))
	}
	rest, err := io.ReadAll(in)
	require.NoError(t, err)
	require.Equal(t, "what follows", string(rest))
	for seed := range uint64(30) {
		if seed != 7 {
			x, err := os.ReadFile(a.path(keyOf(seed)))
			require.NoError(t, err)
			y, err := os.ReadFile(b.path(keyOf(seed)))
			require.NoError(t, err)
			require.Equal(t, x, y)
		}
	}
	checkMetrics(t, b)

	// A part of it, into a store that has room for a part of that.
	archive.Reset()
	n, err = a.Export(ctx, &archive, func(e Entry) bool { return e.Tokens > 15 })
	require.NoError(t, err)
	require.Equal(t, 15, n)
	tight := openStore(t, t.TempDir(), Options{Budget: blockSize})
	kept, err = tight.Import(ctx, &archive)
	require.NoError(t, err)
	require.Less(t, kept, n, "those of two blocks are not kept")
	require.Equal(t, 1, tight.Metrics().Entries)
	require.EqualValues(t, n-kept, tight.Metrics().Rejected)

	var empty bytes.Buffer
	n, err = a.Export(ctx, &empty, func(Entry) bool { return false })
	require.NoError(t, err)
	require.Zero(t, n)
	require.Equal(t, "GKVARC1\n"+string(make([]byte, 16)), empty.String())
	_, err = tight.Import(ctx, &empty)
	require.NoError(t, err)
}

type brokenWriter struct{ room int }

func (w *brokenWriter) Write(b []byte) (int, error) {
	if w.room -= len(b); w.room < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(b), nil
}

func TestExportToBrokenWriter(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	put(t, s, 1, 2)
	var whole bytes.Buffer
	_, err := s.Export(ctx, &whole, nil)
	require.NoError(t, err)
	for room := 0; room < whole.Len(); room += 7 {
		_, err := s.Export(ctx, &brokenWriter{room: room}, nil)
		require.ErrorIs(t, err, io.ErrClosedPipe, "%d bytes", room)
	}
}

// However an archive is damaged, nothing but what was exported comes out of it, and the error says where.
func TestDamagedArchive(t *testing.T) {
	src := openStore(t, t.TempDir(), Options{})
	put(t, src, 1, 2)
	var archive bytes.Buffer
	_, err := src.Export(ctx, &archive, nil)
	require.NoError(t, err)
	whole := archive.Bytes()
	s := openStore(t, t.TempDir(), Options{})
	refused := func(b []byte, what string, at int) {
		t.Helper()
		_, err := s.Import(ctx, bytes.NewReader(b))
		var ae *ArchiveError
		require.ErrorAs(t, err, &ae, "%s at %d", what, at)
		has(t, s, 1) // which checks what is there
		has(t, s, 2)
		require.Zero(t, s.Metrics().Corrupt)
	}
	step := 3
	if testing.Short() {
		step = 37
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for at := 0; at < len(whole); at += step {
		refused(whole[:at], "cut", at)
		b := bytes.Clone(whole)
		b[at] ^= 1 << rng.IntN(8)
		refused(b, "flipped", at)
	}
	require.Empty(t, files(t, s.root, isTemp))
}

// An archive whose numbers are absurd makes the store neither take memory nor evict for it.
func TestHostileArchive(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{Budget: 1 << 20})
	put(t, s, 1)
	huge := &header{key: keyOf(2), shape: kvcache.Shape{Layers: 4, KVHeads: 64, HeadDim: 1024}, tokens: 100_000}
	var err error
	huge.layer, err = huge.shape.LayerBytes(huge.tokens)
	require.NoError(t, err)
	huge.sums = make([]uint32, 4)
	b := binary.LittleEndian.AppendUint64([]byte(archiveMagic), uint64(huge.fileLen()))
	b = append(append(b, huge.encode()...), "and then nothing"...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = s.Import(ctx, bytes.NewReader(b))
	runtime.ReadMemStats(&after)
	var ae *ArchiveError
	require.ErrorAs(t, err, &ae)
	require.EqualError(t, ae, "disk: entry 0 of the archive: layer 0: the archive ends")
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20))
	require.True(t, has(t, s, 1))
	for _, n := range []uint64{1, 191, 1 << 50, 1 << 63} {
		_, err = s.Import(ctx, bytes.NewReader(binary.LittleEndian.AppendUint64([]byte(archiveMagic), n)))
		require.ErrorAs(t, err, &ae)
		require.Contains(t, ae.Reason, "length: ")
	}
	_, err = s.Import(ctx, io.MultiReader(bytes.NewReader(b[:100]), errReader{}))
	require.ErrorIs(t, err, io.ErrNoProgress)
	require.False(t, errors.As(err, &ae), "the reader failed, not the archive")
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrNoProgress }

func FuzzImport(f *testing.F) {
	src := openStore(f, f.TempDir(), Options{})
	put(f, src, 1, 2)
	var archive bytes.Buffer
	_, err := src.Export(ctx, &archive, nil)
	require.NoError(f, err)
	f.Add(archive.Bytes())
	f.Add([]byte(archiveMagic))
	s := openStore(f, f.TempDir(), Options{Budget: 1 << 20})
	f.Fuzz(func(t *testing.T, b []byte) {
		before := s.Metrics().Puts
		kept, err := s.Import(ctx, bytes.NewReader(b))
		var ae *ArchiveError
		if err != nil && !errors.As(err, &ae) {
			t.Fatal(err)
		}
		if n := s.Metrics().Puts - before; uint64(kept) > n {
			t.Fatalf("%d kept of %d", kept, n)
		}
		if err := s.Verify(ctx, func(_ Entry, err error) {
			if err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.DeleteFunc(ctx, func(Entry) bool { return true }); err != nil {
			t.Fatal(err)
		}
	})
}
