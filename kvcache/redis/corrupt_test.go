// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package redis

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/redis/redistest"
)

// Every bit of a header and bits all over every chunk, flipped one at a time: none is served, each is counted and reported, and the node is
// gone afterwards.
func TestBitFlips(t *testing.T) {
	var heard events
	server := redistest.Start(t)
	s := open(t, server.URL(), Options{Events: heard.listener()})
	c := server.Client()
	k := kvcache.Key{7}
	node := s.node(k)
	kv := randomKV(3, 70, 1) // layers of 1.1 MiB: two chunks each
	require.NoError(t, s.Put(t.Context(), k, kv))
	stored := map[string]string{}
	for _, name := range names(t, c) {
		stored[name] = c.Get(t.Context(), name).Val()
	}
	require.Len(t, stored, 1+3*2)
	flips := 0
	flip := func(name string, bit int) {
		t.Helper()
		b := []byte(stored[name])
		b[bit/8] ^= 1 << (bit % 8)
		require.NoError(t, c.Set(t.Context(), name, b, 0).Err())
		h, err := s.Get(t.Context(), k)
		var corrupt *kvcache.CorruptError
		require.ErrorAs(t, err, &corrupt, "bit %d of %s was flipped, got %v", bit, name, h)
		require.Equal(t, k, corrupt.Key)
		require.Equal(t, server.Addr, corrupt.Where)
		flips++
		require.Equal(t, uint64(flips), s.Metrics().Corrupt)
		require.Len(t, heard.corrupt, flips)
		require.Same(t, corrupt, heard.corrupt[flips-1].Err)
		require.Zero(t, c.Exists(t.Context(), node).Val(), "the node is still there after bit %d of %s", bit, name)
		if name != node {
			require.Empty(t, names(t, c), "chunks left after bit %d of %s", bit, name)
		}
		missing(t, s, k)
		for name, value := range stored {
			if name == node || c.Exists(t.Context(), name).Val() == 0 {
				require.NoError(t, c.Set(t.Context(), name, value, 0).Err())
			}
		}
	}
	step := 1
	if testing.Short() {
		step = 9
	}
	for bit := 0; bit < 8*len(stored[node]); bit += step {
		flip(node, bit)
	}
	for name, value := range stored {
		if name == node {
			continue
		}
		bits := 8 * len(value)
		for _, bit := range []int{0, 7, bits / 3, bits / 2, bits - 8, bits - 1} {
			flip(name, bit)
		}
	}
	same(t, s, k, kv) // as it was
	m := s.Metrics()
	require.Equal(t, []uint64{1, uint64(flips), 0}, []uint64{m.Hits, m.Misses, m.Failures})
}

// Values that are not as long as they must be, missing, of another kind or of another node.
func TestWrongValues(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.URL(), Options{})
	c := server.Client()
	k, other := kvcache.Key{7}, kvcache.Key{8}
	kv := randomKV(4, 70, 1)
	put := func() (node, chunk string) {
		t.Helper()
		require.NoError(t, c.FlushAll(t.Context()).Err())
		require.NoError(t, s.Put(t.Context(), k, kv))
		h, err := decode(k, []byte(c.Get(t.Context(), s.node(k)).Val()))
		require.NoError(t, err)
		return s.node(k), h.name(s.node(k), 3)
	}
	corrupt := func(want string) {
		t.Helper()
		_, err := s.Get(t.Context(), k)
		var e *kvcache.CorruptError
		require.ErrorAs(t, err, &e)
		require.Contains(t, e.Error(), want)
		missing(t, s, k)
	}
	const rest = 70*16<<10 - chunkBytes // of the second chunk of a layer

	_, chunk := put()
	require.NoError(t, c.Append(t.Context(), chunk, "x").Err())
	corrupt(fmt.Sprintf("one of chunks 2 to 3 is too long: redis: buffer too small: need %d bytes, have %d", rest+1, rest))

	_, chunk = put()
	require.NoError(t, c.Set(t.Context(), chunk, c.GetRange(t.Context(), chunk, 0, rest-2).Val(), 0).Err())
	corrupt(fmt.Sprintf("chunk 3 has %d bytes, not %d", rest-1, rest))

	_, chunk = put()
	require.NoError(t, c.Set(t.Context(), chunk, "", 0).Err())
	corrupt("chunk 3 has 0 bytes")

	// Chunks of two layers change places: each is whole, neither is what the header says.
	node, chunk := put()
	h, err := decode(k, []byte(c.Get(t.Context(), node).Val()))
	require.NoError(t, err)
	third := c.Get(t.Context(), chunk).Val()
	require.NoError(t, c.Set(t.Context(), chunk, c.Get(t.Context(), h.name(node, 5)).Val(), 0).Err())
	require.NoError(t, c.Set(t.Context(), h.name(node, 5), third, 0).Err())
	corrupt("the checksum of layer ") // 1 or 2, whichever was there first

	node, _ = put()
	require.NoError(t, s.Put(t.Context(), other, kv))
	require.NoError(t, c.Set(t.Context(), node, c.Get(t.Context(), s.node(other)).Val(), 0).Err())
	corrupt("the header is of 0800")

	// A server that evicts takes single chunks. That is no damage, and the rest goes as well.
	_, chunk = put()
	require.NoError(t, c.Del(t.Context(), chunk).Err())
	missing(t, s, k)
	require.Empty(t, names(t, c))

	// Somebody else's values under these names are theirs.
	node, _ = put()
	require.NoError(t, c.Del(t.Context(), node).Err())
	require.NoError(t, c.LPush(t.Context(), node, "x").Err())
	_, err = s.Get(t.Context(), k)
	require.ErrorContains(t, err, "WRONGTYPE")
	require.True(t, slices.Contains(names(t, c), node))
	require.EqualValues(t, 1, s.Metrics().Failures)
	require.EqualValues(t, 5, s.Metrics().Corrupt)
}
