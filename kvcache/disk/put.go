// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/graphkv/graphkv/kvcache"
)

// Put writes kv to a file. When it returns without an error the file lasts, whatever happens to the process or the machine. A KV that does not
// fit the budget, or for which nothing can be evicted since all is held, is not kept, and what k stood for is forgotten
// (Metrics.Rejected). Put panics with [kvcache.ErrNilKV] if kv is nil.
func (s *Store) Put(ctx context.Context, k kvcache.Key, kv *kvcache.KV) error {
	if kv == nil {
		panic(kvcache.ErrNilKV)
	}
	h, err := newHeader(k, kv)
	if err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	_, err = s.install(ctx, h, func(w io.Writer, layer int) error {
		_, err := w.Write(h.layerOf(kv.Data(), layer))
		return err
	})
	return err
}

// install makes the file of h from what body writes for each layer, and reports whether it is kept.
func (s *Store) install(ctx context.Context, h *header, body func(w io.Writer, layer int) error) (kept bool, err error) {
	start := time.Now()
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if err := s.beginWrite("put", h.key); err != nil {
		return false, err
	}
	defer s.ops.Done()
	kept, err = s.write(ctx, h, body)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return false, ctx.Err()
	default:
		err = fmt.Errorf("disk: %w", err)
		s.failed("put", h.key, err, time.Since(start))
		return false, err
	}
	s.mu.Lock()
	s.m.Puts++
	if kept {
		s.m.WriteBytes += uint64(h.fileLen())
		s.m.WriteTime += time.Since(start)
	} else {
		s.m.Rejected++
	}
	s.mu.Unlock()
	return kept, nil
}

func (s *Store) write(ctx context.Context, h *header, body func(w io.Writer, layer int) error) (kept bool, err error) {
	n := onDisk(h.fileLen())
	if err := s.lookAround(ctx, n); err != nil {
		return false, err
	}
	if ok, err := s.reserve(ctx, n); err != nil {
		return false, err
	} else if !ok {
		replaced, err := s.remove(h.key)
		if replaced {
			s.mu.Lock()
			s.m.Replaced++
			s.mu.Unlock()
		}
		return false, err
	}
	f := s.folderOf(h.key)
	temp, err := s.writeTemp(ctx, f, h, body)
	if err != nil {
		s.mu.Lock()
		s.unreserve(n)
		s.mu.Unlock()
		return false, err
	}
	e := &entry{key: h.key, bytes: n, cost: h.info.Cost, used: time.Now()}
	if err := s.publish(f, e, temp); err != nil {
		_ = s.fs.Remove(temp) // if this fails too, the next Open removes it
		return false, err
	}
	if err := f.sync(s.fs); err != nil {
		_ = s.withdraw(f, e) // the file is whole; it only may not last
		return false, err
	}
	return true, nil
}

// writeTemp writes and syncs a file under a name that says whose it is.
func (s *Store) writeTemp(ctx context.Context, f *folder, h *header, body func(w io.Writer, layer int) error) (path string, err error) {
	path = filepath.Join(f.path, fmt.Sprintf("%s%s-%d", tempPrefix, s.owner, s.temps.Add(1)))
	file, err := s.fs.Create(path)
	if notExist(err) { // the first of its folder
		if err = s.fs.Mkdir(f.path); err == nil {
			file, err = s.fs.Create(path)
		}
	}
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			_ = s.fs.Remove(path) // if this fails too, the next Open removes it
		}
	}()
	_, err = file.Write(h.encode())
	for layer := 0; err == nil && layer < h.shape.Layers; layer++ {
		if err = ctx.Err(); err == nil {
			err = body(file, layer)
		}
	}
	if err == nil {
		err = file.Sync()
	}
	return path, errors.Join(err, file.Close())
}

// publish gives a written file its name and indexes it. What was reserved for it is now the entry's, or is given back.
func (s *Store) publish(f *folder, e *entry, temp string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := s.fs.Rename(temp, s.path(e.key))
	f.renamed.Add(1)
	s.mu.Lock()
	defer s.unlock()
	s.unreserve(e.bytes)
	if err != nil {
		return err
	}
	if old := f.index[e.key]; old != nil {
		s.drop(old)
		s.m.Replaced++
	}
	s.learn(e)
	s.insert(e)
	s.written += e.bytes
	return nil
}

// withdraw removes the file of e, unless another has taken its place.
func (s *Store) withdraw(f *folder, e *entry) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.mu.Lock()
	current := f.index[e.key] == e
	s.mu.Unlock()
	if !current {
		return nil
	}
	if err := s.fs.Remove(s.path(e.key)); err != nil && !notExist(err) {
		return err
	}
	s.mu.Lock()
	defer s.unlock()
	s.drop(e)
	return nil
}

// remove removes the file of k and reports whether there was one.
func (s *Store) remove(k kvcache.Key) (was bool, err error) {
	f := s.folderOf(k)
	f.mu.Lock()
	defer f.mu.Unlock()
	err = s.fs.Remove(s.path(k))
	if err != nil && !notExist(err) {
		return false, err
	}
	f.renamed.Add(1)
	s.mu.Lock()
	defer s.unlock()
	if e := f.index[k]; e != nil {
		s.drop(e)
	}
	return err == nil, nil
}

// Delete removes the file of k. When it returns without an error the file does not come back.
func (s *Store) Delete(ctx context.Context, k kvcache.Key) error {
	start := time.Now()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.beginWrite("delete", k); err != nil {
		return err
	}
	defer s.ops.Done()
	was, err := s.remove(k)
	if was {
		err = s.folderOf(k).sync(s.fs)
		s.mu.Lock()
		s.m.Deletes++
		s.mu.Unlock()
	}
	if err != nil {
		err = fmt.Errorf("disk: %w", err)
		s.failed("delete", k, err, time.Since(start))
	}
	return err
}
