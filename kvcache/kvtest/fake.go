// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvtest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/graphkv/graphkv/kvcache"
)

// Medium stands for what a store keeps KVs on and that outlives the store: a disk, a server. It holds the bytes of each KV with their digest, so damage
// is found, and every hit is a copy of its own, whose memory is wiped when it is released: who uses a KV for too long finds out. It is safe for
// concurrent use.
type Medium struct {
	name string

	mu    sync.Mutex
	items map[kvcache.Key]*stored
	lent  int64 // bytes of handles that are not released
}

type stored struct {
	shape  kvcache.Shape
	tokens int
	info   kvcache.Info
	data   []byte
	sum    [32]byte
}

func (s *stored) digest() [32]byte {
	h := sha256.New()
	h.Write(s.info.Model[:])
	h.Write(s.info.Scope[:])
	for _, n := range []int{s.shape.Layers, s.shape.KVHeads, s.shape.HeadDim, int(s.shape.Format), s.tokens} {
		binary.Write(h, binary.LittleEndian, int64(n))
	}
	binary.Write(h, binary.LittleEndian, math.Float64bits(s.info.Cost))
	h.Write(s.data)
	return [32]byte(h.Sum(nil))
}

// NewMedium returns an empty medium. Stores over it have this name.
func NewMedium(name string) *Medium {
	return &Medium{name: name, items: make(map[kvcache.Key]*stored)}
}

// Corrupt flips one bit of one KV, and reports whether there was one.
func (m *Medium) Corrupt(r *rand.Rand) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	keys := slices.SortedFunc(maps.Keys(m.items), func(a, b kvcache.Key) int { return slices.Compare(a[:], b[:]) })
	if len(keys) == 0 {
		return false
	}
	s := m.items[keys[r.IntN(len(keys))]]
	bits := append(slices.Clone(s.data), s.sum[:]...)
	bits[r.IntN(len(bits))] ^= 1 << r.IntN(8)
	s.data, s.sum = bits[:len(s.data)], [32]byte(bits[len(s.data):])
	return true
}

// Lent returns how many bytes handles hold that are not released.
func (m *Medium) Lent() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lent
}

// Open returns a store over the medium.
func (m *Medium) Open() kvcache.Store {
	return &fake{medium: m, counts: kvcache.Metrics{Tier: m.name}}
}

// fake is a store over a medium. Its mutex is the medium's.
type fake struct {
	medium *Medium
	counts kvcache.Metrics
	closed bool
}

// enter locks the store if an operation can go on.
func (f *fake) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f.medium.mu.Lock()
	if f.closed {
		f.medium.mu.Unlock()
		return kvcache.ErrClosed
	}
	return nil
}

func (f *fake) Get(ctx context.Context, k kvcache.Key) (*kvcache.Handle, error) {
	if err := f.enter(ctx); err != nil {
		return nil, err
	}
	defer f.medium.mu.Unlock()
	s := f.medium.items[k]
	if s == nil {
		f.counts.Misses++
		return nil, kvcache.ErrNotFound
	}
	if s.digest() != s.sum {
		f.counts.Corrupt++
		f.counts.Misses++
		delete(f.medium.items, k)
		return nil, &kvcache.CorruptError{Key: k, Where: f.medium.name, Reason: "its digest is another"}
	}
	kv := kvcache.NewKV(s.shape, s.tokens)
	copy(kv.Data(), s.data)
	kv.SetInfo(s.info)
	n := kv.Bytes()
	f.counts.Hits++
	f.counts.ReadBytes += uint64(n)
	f.counts.PinnedBytes += n
	f.counts.PinnedEntries++
	f.counts.Handles++
	f.medium.lent += n
	return kvcache.NewHandle(kv, func() {
		data := kv.Data()
		for i := range data {
			data[i] = 0xa5
		}
		f.medium.mu.Lock()
		defer f.medium.mu.Unlock()
		f.counts.PinnedBytes -= n
		f.counts.PinnedEntries--
		f.counts.Handles--
		f.medium.lent -= n
	}), nil
}

func (f *fake) Has(ctx context.Context, k kvcache.Key) (bool, error) {
	if err := f.enter(ctx); err != nil {
		return false, err
	}
	defer f.medium.mu.Unlock()
	return f.medium.items[k] != nil, nil
}

func (f *fake) Put(ctx context.Context, k kvcache.Key, kv *kvcache.KV) error {
	s := &stored{shape: kv.Shape(), tokens: kv.Tokens(), info: kv.Info(), data: slices.Clone(kv.Data())}
	s.sum = s.digest()
	if err := f.enter(ctx); err != nil {
		return err
	}
	defer f.medium.mu.Unlock()
	f.counts.Puts++
	f.counts.WriteBytes += uint64(kv.Bytes())
	if f.medium.items[k] != nil {
		f.counts.Replaced++
	}
	f.medium.items[k] = s
	return nil
}

func (f *fake) Delete(ctx context.Context, k kvcache.Key) error {
	if err := f.enter(ctx); err != nil {
		return err
	}
	defer f.medium.mu.Unlock()
	if f.medium.items[k] != nil {
		delete(f.medium.items, k)
		f.counts.Deletes++
	}
	return nil
}

func (f *fake) Metrics() kvcache.Metrics {
	f.medium.mu.Lock()
	defer f.medium.mu.Unlock()
	m := f.counts
	m.Entries = len(f.medium.items)
	for _, s := range f.medium.items {
		m.Bytes += int64(len(s.data))
	}
	return m
}

func (f *fake) Close() error {
	f.medium.mu.Lock()
	defer f.medium.mu.Unlock()
	f.closed = true
	return nil
}
