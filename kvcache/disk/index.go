// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package disk

import (
	"context"
	"time"

	"github.com/graphkv/graphkv/internal/evict"
	"github.com/graphkv/graphkv/kvcache"
)

// entry is a file that the index knows. All but key is guarded by Store.mu.
type entry struct {
	evict.Item[*entry]
	key    kvcache.Key
	bytes  int64     // on disk
	cost   float64   // what it took to encode; only if costed
	costed bool      // the header was read
	queued bool      // the policy has it
	going  bool      // chosen to be evicted: nobody gets a handle any more
	used   time.Time // the last use that the file shows
	view   *view     // nil if it is not mapped
}

// insert indexes an entry. It needs mu, as does everything in this file that is not said to take it.
func (s *Store) insert(e *entry) {
	f := s.folderOf(e.key)
	f.index[e.key] = e
	f.gen++
	e.Value = e
	s.m.Entries++
	s.m.Bytes += e.bytes
	s.enqueue(e)
}

// enqueue gives an entry to the policy.
func (s *Store) enqueue(e *entry) {
	cost := 0.0
	if e.costed {
		cost = e.cost
	}
	s.policy.Add(&e.Item, e.bytes, cost, e.view != nil && e.view.handles > 0)
	e.queued = true
}

func (s *Store) dequeue(e *entry) {
	if e.queued {
		s.policy.Remove(&e.Item)
		e.queued = false
	}
}

// drop takes an entry out of the index. Its mapping goes with the last handle.
func (s *Store) drop(e *entry) {
	f := s.folderOf(e.key)
	delete(f.index, e.key)
	f.gen++
	s.dequeue(e)
	s.m.Entries--
	s.m.Bytes -= e.bytes
	if v := e.view; v != nil {
		s.detach(v)
		if v.handles > 0 {
			s.m.OrphanedEntries++
			s.m.OrphanedBytes += v.bytes
		}
	}
}

// describe corrects an entry by what its file says, and counts as a use.
func (s *Store) describe(e *entry, bytes int64, cost float64) {
	if e.costed && e.bytes == bytes {
		s.policy.Use(&e.Item)
		return
	}
	s.dequeue(e)
	s.m.Bytes += bytes - e.bytes
	e.bytes, e.cost = bytes, cost
	if !e.costed {
		s.learn(e)
	}
	s.enqueue(e)
}

// learn counts the cost of an entry towards the mean.
func (s *Store) learn(e *entry) {
	e.costed = true
	if e.cost > 0 {
		s.known.bytes += e.bytes
		s.known.cost += e.cost
	}
}

// dear reports whether an entry costs more per byte than others on average.
func (s *Store) dear(e *entry) bool {
	return e.cost*float64(s.known.bytes) > s.known.cost*float64(e.bytes)
}

// reserve evicts until n bytes fit beside what there is and is being written, and books them. It reports false if they never will: all
// that is left is held. It takes mu.
func (s *Store) reserve(ctx context.Context, n int64) (bool, error) {
	if s.opt.Budget != 0 && n > s.opt.Budget {
		return false, nil
	}
	for {
		s.mu.Lock()
		if s.opt.Budget == 0 || s.m.Bytes+s.reserved+n <= s.opt.Budget {
			s.reserved += n
			s.mu.Unlock()
			return true, nil
		}
		others, freed := s.reserved > 0, s.freed
		s.mu.Unlock()
		switch progress, err := s.evict(); {
		case err != nil:
			return false, err
		case progress:
		case !others:
			return false, nil
		default: // what others write becomes entries, which can be evicted, or fails
			select {
			case <-freed:
			case <-ctx.Done():
				return false, ctx.Err()
			}
		}
	}
}

// unreserve gives back what reserve booked.
func (s *Store) unreserve(n int64) {
	s.reserved -= n
	close(s.freed)
	s.freed = make(chan struct{})
}

// over reports whether entries exceed the budget. This process sees to it that its own do not, but finds those of others.
func (s *Store) over() bool { return s.opt.Budget != 0 && s.m.Bytes > s.opt.Budget && s.locked == nil }

// relieve evicts what is above the budget and not held. It takes mu.
func (s *Store) relieve() {
	start := time.Now()
	for {
		s.mu.Lock()
		over := s.over()
		s.mu.Unlock()
		if !over {
			return
		}
		progress, err := s.evict()
		if err != nil { // nothing is lost; the next to write tries again
			s.failed("evict", kvcache.Key{}, err, time.Since(start))
		}
		if !progress {
			return
		}
	}
}

// evict removes one entry, or brings itself closer to that. It reports false if all are held. It takes mu.
//
// The header of most files that a scan found is read when they are about to go, not before. Until then the policy takes their cost per byte
// to be the mean. If one turns out to be dearer, it gets another turn.
func (s *Store) evict() (progress bool, err error) {
	s.evicting.Lock()
	defer s.evicting.Unlock()
	s.mu.Lock()
	e, ok := s.policy.Evict()
	if !ok {
		s.mu.Unlock()
		return false, nil
	}
	e.queued = false
	if e.view != nil && e.view.handles > 0 {
		s.enqueue(e)
		s.mu.Unlock()
		return false, nil
	}
	e.going = true
	costed := e.costed
	s.mu.Unlock()

	f, path := s.folderOf(e.key), s.path(e.key)
	f.mu.Lock()
	defer f.mu.Unlock()
	var cost float64
	if !costed {
		if h, err := s.readHeader(path, e.key); err == nil {
			cost = h.info.Cost
		} // and otherwise it is no loss
	}
	s.mu.Lock()
	if f.index[e.key] != e { // deleted or replaced meanwhile
		s.mu.Unlock()
		return true, nil
	}
	if !costed {
		e.cost = cost
		s.learn(e)
		if s.dear(e) {
			e.going = false
			s.enqueue(e)
			s.mu.Unlock()
			return true, nil
		}
	}
	s.mu.Unlock()

	err = s.fs.Remove(path)
	s.mu.Lock()
	if err != nil && !notExist(err) {
		e.going = false
		s.enqueue(e)
		s.mu.Unlock()
		return false, err
	}
	s.drop(e)
	s.m.Evictions++
	s.unlock()
	if evicted := s.opt.Events.Evicted; evicted != nil {
		evicted(kvcache.EvictEvent{Tier: tier, Key: e.key, Bytes: e.bytes})
	}
	return true, nil
}
