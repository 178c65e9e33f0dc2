// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/graphkv/graphkv/kvcache"
)

// Entry describes the file of one KV.
type Entry struct {
	Key    kvcache.Key
	Info   kvcache.Info
	Shape  kvcache.Shape
	Tokens int
	Bytes  int64     // of the disk's blocks
	Used   time.Time // when it was last put or got, to the minute
}

func (h *header) entry(used time.Time) Entry {
	return Entry{Key: h.key, Info: h.info, Shape: h.shape, Tokens: h.tokens, Bytes: onDisk(h.fileLen()), Used: used}
}

// Entries returns what is in the folder, in the order of keys, those of other processes included. It reads the headers and nothing else.
// With an error that concerns one file, a *[kvcache.CorruptError] say, the entry has the key, the size and the time, and the listing goes
// on if the loop does; Get or Verify take care of the file. Any other error ends the listing.
// The loop must not close the store, which waits for it.
func (s *Store) Entries(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		err := s.walk(ctx, func(x found) bool {
			h, err := s.readHeader(s.path(x.key), x.key)
			var d *damage
			switch {
			case err == nil:
				return yield(h.entry(x.time), nil)
			case notExist(err):
				return true // removed since
			case errors.As(err, &d):
				err = &kvcache.CorruptError{Key: x.key, Where: s.path(x.key), Reason: d.Error()}
			default:
				err = fmt.Errorf("disk: %w", err)
			}
			return yield(Entry{Key: x.key, Bytes: onDisk(x.size), Used: x.time}, err)
		})
		if err != nil {
			yield(Entry{}, err)
		}
	}
}

// walk calls visit for every file of an entry, until it returns false.
func (s *Store) walk(ctx context.Context, visit func(found) bool) error {
	if err := s.begin(); err != nil {
		return err
	}
	defer s.ops.Done()
	for i := range s.folders {
		entries, err := s.list(&s.folders[i])
		if err != nil {
			return fmt.Errorf("disk: %w", err)
		}
		for _, x := range entries {
			if err := ctx.Err(); err != nil {
				return err
			}
			if !visit(x) {
				return nil
			}
		}
	}
	return nil
}

// Verify reads every file and compares it with its checksums. It calls report, unless nil, for each in the order of keys, with a
// *[kvcache.CorruptError] for those that were damaged and are in the quarantine now. The error is ctx's, or of a folder that cannot be read.
func (s *Store) Verify(ctx context.Context, report func(Entry, error)) error {
	var ended error
	err := s.walk(ctx, func(x found) bool {
		h, v, err := s.mapFile(ctx, s.path(x.key), x.key)
		entry := Entry{Key: x.key, Bytes: onDisk(x.size), Used: x.time}
		var d *damage
		switch {
		case err == nil:
			v.unmap()
			entry = h.entry(x.time)
		case notExist(err):
			return true // removed since
		case errors.As(err, &d):
			err = s.quarantine(x.key, d)
		case ctx.Err() != nil:
			ended = ctx.Err()
			return false
		default:
			err = fmt.Errorf("disk: %w", err)
		}
		if report != nil {
			report(entry, err)
		}
		return true
	})
	return errors.Join(err, ended)
}

// DeleteFunc removes the entries that match, and returns how many there were and the disk blocks they took, in bytes. Files whose headers are
// damaged are left to Verify. When it returns without an error none comes back.
func (s *Store) DeleteFunc(ctx context.Context, match func(Entry) bool) (entries int, bytes int64, err error) {
	if err := s.beginWrite("delete", kvcache.Key{}); err != nil {
		return 0, 0, err
	}
	defer s.ops.Done()
	var touched [len(s.folders)]bool
	for e, entryErr := range s.Entries(ctx) {
		var ce *kvcache.CorruptError
		if errors.As(entryErr, &ce) {
			continue
		}
		if err = entryErr; err != nil {
			break
		}
		if !match(e) {
			continue
		}
		was, removeErr := s.remove(e.Key)
		if err = removeErr; err != nil {
			err = fmt.Errorf("disk: %w", err)
			break
		}
		if was {
			entries, bytes = entries+1, bytes+e.Bytes
			touched[e.Key[0]] = true
		}
	}
	s.mu.Lock()
	s.m.Deletes += uint64(entries)
	s.mu.Unlock()
	for i := range s.folders {
		if touched[i] {
			err = errors.Join(err, s.folders[i].sync(s.fs))
		}
	}
	return entries, bytes, err
}
