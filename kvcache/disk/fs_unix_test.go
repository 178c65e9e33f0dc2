// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package disk

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/kvtest"
)

// shrinking shortens a file after its length was looked at and it was mapped, as no store does but another program may.
type shrinking struct{ osFS }

type shrinkingFile struct{ readFile }

func (f shrinking) Open(path string) (readFile, error) {
	file, err := f.osFS.Open(path)
	return shrinkingFile{file}, err
}

func (f shrinkingFile) Map(n int64) ([]byte, func(), error) {
	data, unmap, err := f.readFile.Map(n)
	if err == nil {
		err = os.Truncate(f.readFile.(osFile).Name(), 4096)
	}
	return data, unmap, err
}

// A page that cannot be read while a file is verified is damage, not the end of the process.
func TestFaultWhileVerifying(t *testing.T) {
	s, err := open(shrinking{}, t.TempDir(), Options{})
	require.NoError(t, err)
	defer s.Close()
	kv := kvtest.NewKV(kvcache.Shape{Layers: 4, KVHeads: 2, HeadDim: 64}, 64, 1)
	require.NoError(t, s.Put(ctx, keyOf(1), kv))
	_, err = s.Get(ctx, keyOf(1))
	var ce *kvcache.CorruptError
	require.ErrorAs(t, err, &ce)
	require.Contains(t, ce.Reason, "layer 0: a page cannot be read: ")
}

// What is counted is what the disk gives, within 1 %.
func TestBytesAreDiskBlocks(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{Budget: 3 << 20})
	for seed := range uint64(60) {
		shape := kvcache.Shape{Layers: 2 + int(seed%3), KVHeads: 2, HeadDim: 32}
		require.NoError(t, s.Put(ctx, keyOf(seed), kvtest.NewKV(shape, int(1+seed*17%100), seed)))
	}
	var blocks int64
	for _, path := range files(t, dir, func(string) bool { return true }) {
		var st syscall.Stat_t
		require.NoError(t, syscall.Stat(path, &st))
		blocks += int64(st.Blocks) * 512
	}
	m := s.Metrics()
	require.NotZero(t, m.Evictions)
	require.InEpsilon(t, blocks, m.Bytes, 0.01)
	require.LessOrEqual(t, m.Bytes, m.Budget)
	require.Greater(t, m.Bytes, m.Budget*8/10, "and the budget is used")
}

// A process has only so many mappings, and cannot go on without any. Past half of them files are read.
func TestMappingsAreBounded(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	put(t, s, 1, 2)
	before := mappings.Load()
	require.True(t, has(t, s, 1))
	require.Equal(t, before+1, mappings.Load())

	others := maxMappings - mappings.Load()
	mappings.Add(others)
	defer mappings.Add(-others)
	require.True(t, has(t, s, 2))
	require.EqualValues(t, maxMappings, mappings.Load())
	require.Equal(t, []int64{makeKV(1).Bytes(), makeKV(2).Bytes()}, []int64{s.idle.mapped, s.idle.read})

	s.mu.Lock()
	s.idle.read += maxIdleRead // as if there were others
	s.mu.Unlock()
	require.True(t, has(t, s, 2))
	require.EqualValues(t, maxIdleRead, s.idle.read)
	s.idle.read = 0
	require.NoError(t, s.Delete(ctx, keyOf(1)))
	require.EqualValues(t, maxMappings-1, mappings.Load(), "given back")
	require.True(t, has(t, s, 2), "mapped now")
	require.EqualValues(t, maxMappings, mappings.Load())
}
