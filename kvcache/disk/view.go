// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package disk

import (
	"container/list"
	"context"
	"fmt"
	"hash/crc32"
	"math"
	"runtime/debug"

	"github.com/graphkv/graphkv/kvcache"
)

// view is a file in memory whose every layer was verified. All but the first four are guarded by Store.mu.
type view struct {
	kv      *kvcache.KV
	bytes   int64  // of its file on disk
	read    bool   // into memory of its own, rather than mapped
	unmap   func() // called once
	e       *entry // nil when it is no longer what its key stands for
	handles int
	idle    *list.Element // in Store.idle
}

// views are mappings that nobody holds at the moment, the one used last in front. They spare the next Get the verification.
type views struct {
	list         list.List
	mapped, read int64 // bytes
}

// Mappings take address space and are limited in number. Files that are read instead of mapped take memory.
const (
	maxIdleViews  = 4096
	maxIdleMapped = math.MaxInt / 8 // a quarter of a gigabyte with 32 bits
	maxIdleRead   = 256 << 20
)

func (v *views) full() bool {
	return v.list.Len() > maxIdleViews || v.mapped > maxIdleMapped || v.read > maxIdleRead
}

// count adds bytes to those of the kind of x.
func (v *views) count(x *view, bytes int64) {
	if x.read {
		v.read += bytes
	} else {
		v.mapped += bytes
	}
}

// hold makes a handle to v. It needs mu.
func (s *Store) hold(v *view) *kvcache.Handle {
	s.m.Handles++
	v.handles++
	if v.handles == 1 {
		s.m.PinnedEntries++
		s.m.PinnedBytes += v.bytes
		s.unidle(v)
		if v.e != nil {
			s.policy.Hold(&v.e.Item)
		} else {
			s.m.OrphanedEntries++
			s.m.OrphanedBytes += v.bytes
		}
	}
	return kvcache.NewHandle(v.kv, func() { s.release(v) })
}

// release is the end of a handle. It takes mu.
func (s *Store) release(v *view) {
	s.mu.Lock()
	s.m.Handles--
	v.handles--
	if v.handles == 0 {
		s.rest(v)
	}
	over := s.over() && !s.closed
	if over {
		s.ops.Add(1)
	}
	s.unlock()
	if over { // there was no room for another's entry while this was held
		s.relieve()
		s.ops.Done()
	}
}

// rest makes v one that nobody holds. It needs mu.
func (s *Store) rest(v *view) {
	s.m.PinnedEntries--
	s.m.PinnedBytes -= v.bytes
	if v.e == nil {
		s.m.OrphanedEntries--
		s.m.OrphanedBytes -= v.bytes
		s.dead = append(s.dead, v.unmap)
		return
	}
	s.policy.Idle(&v.e.Item)
	v.idle = s.idle.list.PushFront(v)
	s.idle.count(v, v.kv.Bytes())
	for s.idle.full() {
		s.detach(s.idle.list.Back().Value.(*view))
	}
}

// detach separates v from its entry, and unmaps it if nobody holds it. It needs mu.
func (s *Store) detach(v *view) {
	v.e.view = nil
	v.e = nil
	s.unidle(v)
	if v.handles == 0 {
		s.dead = append(s.dead, v.unmap)
	}
}

func (s *Store) unidle(v *view) {
	if v.idle != nil {
		s.idle.list.Remove(v.idle)
		s.idle.count(v, -v.kv.Bytes())
		v.idle = nil
	}
}

// readHeader reads the header of the file of k.
func (s *Store) readHeader(path string, k kvcache.Key) (*header, error) {
	f, err := s.fs.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return headerOf(f, k)
}

// headerOf reads the header of a file that should be k's. What is wrong with the file is a *damage.
func headerOf(f readFile, k kvcache.Key) (*header, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size < headerLen(1) || size > math.MaxInt {
		return nil, damaged("file length", "%d bytes, must be in [%d, %d]", size, headerLen(1), int64(math.MaxInt))
	}
	b := make([]byte, min(size, blockSize))
	if err := readAt(f, b, 0); err != nil {
		return nil, err
	}
	n, err := headerLenOf(b)
	if err != nil {
		return nil, err
	}
	if n > size {
		return nil, damaged("header", "%d bytes, of which there are %d", n, size)
	}
	if have := int64(len(b)); n > have {
		b = append(b, make([]byte, n-have)...)
		if err := readAt(f, b[have:], have); err != nil {
			return nil, err
		}
	}
	h, err := parseHeader(b, size)
	if err == nil && h.key != k {
		err = damaged("key", "%v", h.key)
	}
	return h, err
}

func readAt(f readFile, b []byte, off int64) error {
	if n, err := f.ReadAt(b, off); n < len(b) {
		return fmt.Errorf("bytes %d to %d: %w", off, off+int64(len(b)), err)
	}
	return nil
}

// mapView maps the file of k and verifies all of it.
func mapView(ctx context.Context, f readFile, k kvcache.Key) (*header, *view, error) {
	h, err := headerOf(f, k)
	if err != nil {
		return nil, nil, err
	}
	data, unmap, err := f.Map(h.fileLen())
	if err != nil {
		return nil, nil, err
	}
	read := unmap == nil
	if read {
		unmap = func() {}
	}
	data = data[headerLen(h.shape.Layers):]
	if err := h.verify(ctx, data); err != nil {
		unmap()
		return nil, nil, err
	}
	kv, err := kvcache.ViewKV(h.shape, h.tokens, data)
	if err != nil {
		unmap()
		return nil, nil, err
	}
	kv.SetInfo(h.info)
	return h, &view{kv: kv, bytes: onDisk(h.fileLen()), read: read, unmap: unmap}, nil
}

// verify compares all layers with their checksums. A page of a mapping that cannot be read, because the disk fails or another shortened the
// file since its length was looked at, is a signal to the process. Here, where most of such pages are met, it becomes an error.
func (h *header) verify(ctx context.Context, data []byte) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	layer := 0
	defer func() {
		switch r := recover().(type) {
		case nil:
		case interface {
			error
			Addr() uintptr
		}:
			err = damaged(fmt.Sprintf("layer %d", layer), "a page cannot be read: %v", r)
		default:
			panic(r)
		}
	}()
	for layer = range h.sums {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := h.checkLayer(layer, crc32.Checksum(h.layerOf(data, layer), castagnoli)); err != nil {
			return err
		}
	}
	return nil
}
