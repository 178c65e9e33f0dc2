// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/graphkv/graphkv/kvcache"
)

// load is a file being mapped and verified. Those who want the same wait for it.
type load struct {
	done chan struct{}
	err  error // valid once done is closed
}

// Get returns a handle to the KV of k, whose memory is the mapped file. The file is verified when this process maps it for the first time;
// after that a Get is a look into the index. See [kvcache.Store] for the errors.
func (s *Store) Get(ctx context.Context, k kvcache.Key) (*kvcache.Handle, error) {
	start := time.Now()
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return nil, kvcache.ErrClosed
		}
		e := s.folderOf(k).index[k]
		if e != nil && e.going {
			s.m.Misses++
			s.mu.Unlock()
			return nil, kvcache.ErrNotFound
		}
		if e != nil && e.view != nil {
			s.policy.Use(&e.Item)
			h := s.hold(e.view)
			s.hit(e.view, start)
			stale := start.Sub(e.used) > stampEvery
			if stale {
				e.used = start
			}
			s.mu.Unlock()
			if stale {
				s.stamp(k, start)
			}
			return h, nil
		}
		l := s.loads[k]
		if l == nil {
			return s.lead(ctx, k, start)
		}
		s.mu.Unlock()
		select {
		case <-l.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if l.err != nil && !errors.Is(l.err, context.Canceled) && !errors.Is(l.err, context.DeadlineExceeded) {
			s.mu.Lock()
			s.m.Misses++
			s.mu.Unlock()
			return nil, l.err
		}
	}
}

// Has reports whether there is a file of k: one question to the file system.
func (s *Store) Has(ctx context.Context, k kvcache.Key) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if err := s.begin(); err != nil {
		return false, err
	}
	defer s.ops.Done()
	s.mu.Lock()
	e := s.folderOf(k).index[k]
	going := e != nil && e.going
	s.mu.Unlock()
	if going {
		return false, nil
	}
	start := time.Now()
	has, err := s.fs.Exists(s.path(k))
	if err != nil {
		err = fmt.Errorf("disk: %w", err)
		s.failed("has", k, err, time.Since(start))
	}
	return has, err
}

// lead loads k for itself and those who wait. It is called with mu and releases it.
func (s *Store) lead(ctx context.Context, k kvcache.Key, start time.Time) (*kvcache.Handle, error) {
	l := &load{done: make(chan struct{})}
	s.loads[k] = l
	s.ops.Add(1)
	defer s.ops.Done()
	gen := s.folderOf(k).gen
	s.mu.Unlock()

	h, err := s.load(ctx, k, gen, start)
	s.mu.Lock()
	delete(s.loads, k)
	l.err = err
	close(l.done)
	if err != nil && ctx.Err() == nil {
		s.m.Misses++
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	s.stamp(k, start)
	s.relieve() // it may be another's
	return h, nil
}

// load opens, maps, verifies and indexes the file of k, whether or not the index had it: another process may have written it.
func (s *Store) load(ctx context.Context, k kvcache.Key, gen uint64, start time.Time) (*kvcache.Handle, error) {
	path := s.path(k)
	header, v, err := s.mapFile(ctx, path, k)
	var d *damage
	switch {
	case err == nil:
	case notExist(err):
		s.forget(k)
		return nil, kvcache.ErrNotFound
	case errors.As(err, &d):
		return nil, s.quarantine(k, d)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	default:
		err = fmt.Errorf("disk: %w", err)
		s.failed("get", k, err, time.Since(start))
		return nil, err
	}
	f := s.folderOf(k)
	f.mu.Lock()
	defer f.mu.Unlock()
	s.mu.Lock()
	defer s.unlock()
	// If a file of the folder was replaced or removed since it was opened, this may be the one. It was right then and is handed out, but
	// the next Get looks again.
	if e := f.index[k]; f.gen == gen && (e == nil || !e.going) {
		if e == nil {
			e = &entry{key: k, bytes: v.bytes, cost: header.info.Cost}
			s.learn(e)
			s.insert(e)
		} else {
			s.describe(e, v.bytes, header.info.Cost)
		}
		e.used = start
		e.view, v.e = v, e
	}
	s.hit(v, start)
	return s.hold(v), nil
}

// mapFile opens and maps the file of k.
func (s *Store) mapFile(ctx context.Context, path string, k kvcache.Key) (*header, *view, error) {
	f, err := s.fs.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close() // the mapping outlives it
	return mapView(ctx, f, k)
}

// hit counts a Get that found v. It needs mu.
func (s *Store) hit(v *view, start time.Time) {
	s.m.Hits++
	s.m.ReadBytes += uint64(v.kv.Bytes())
	s.m.ReadTime += time.Since(start)
}

// forget drops an entry whose file another process removed.
func (s *Store) forget(k kvcache.Key) {
	f := s.folderOf(k)
	f.mu.Lock()
	defer f.mu.Unlock()
	if exists, err := s.fs.Exists(s.path(k)); exists || err != nil {
		return // it was written again meanwhile
	}
	s.mu.Lock()
	defer s.unlock()
	if e := f.index[k]; e != nil {
		s.drop(e)
	}
}

// stamp makes the file show when it was last used, for the next scan. It may fail: the order of eviction suffers, nothing else.
func (s *Store) stamp(k kvcache.Key, t time.Time) {
	if s.locked == nil {
		_ = s.fs.Touch(s.path(k), t)
	}
}
