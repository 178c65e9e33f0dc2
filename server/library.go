// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// library keeps registered documents in memory, each namespace's apart and bounded.
type library struct {
	documents int   // of a namespace
	bytes     int64 // of a namespace

	mu      sync.RWMutex
	shelves map[string]*shelf
}

// shelf is a namespace's.
type shelf struct {
	byID  map[string]*registered
	bytes int64
}

// registered is a document in the library. All but its state never changes: to register
// an id again replaces the document, and requests that have the old one go on with it.
type registered struct {
	document
	created time.Time
	tokens  []int32

	mu    sync.Mutex
	state documentState
}

// documentState says how far a document is.
type documentState string

const (
	stateRegistered documentState = "registered"
	statePreparing  documentState = "preparing" // is being encoded, or will be
	statePrepared   documentState = "prepared"  // was encoded; the cache may have given it up since
	stateFailed     documentState = "failed"    // encoding it has failed; requests will try again
)

func (d *registered) set(s documentState) { d.mu.Lock(); d.state = s; d.mu.Unlock() }

func (d *registered) now() documentState { d.mu.Lock(); defer d.mu.Unlock(); return d.state }

// overhead is about what a document takes besides its text and tokens.
const overhead = 256

// size is the memory that a document takes, in bytes.
func (d *registered) size() int64 {
	n := overhead + len(d.ID)*2 + len(d.Title) + len(d.Text) + 4*len(d.tokens)
	for _, l := range d.Links {
		n += len(l) + 16
	}
	return int64(n)
}

func newLibrary(l Limits) *library {
	return &library{documents: l.StoreDocuments, bytes: l.StoreBytes, shelves: make(map[string]*shelf)}
}

// put registers a document and reports whether there was none of its id.
func (l *library) put(namespace string, d *registered) (created bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.shelves[namespace]
	if s == nil {
		s = &shelf{byID: make(map[string]*registered)}
	}
	bytes, n := s.bytes+d.size(), len(s.byID)+1
	old := s.byID[d.ID]
	if old != nil {
		bytes -= old.size()
		n--
	}
	switch {
	case n > l.documents:
		return false, tooLarge("", "too_many_registered", "the namespace has %d documents, which is the limit; delete some", l.documents)
	case bytes > l.bytes:
		return false, tooLarge("", "registered_too_large", "the namespace's documents would take %d bytes, the limit is %d; delete some", bytes, l.bytes)
	}
	s.byID[d.ID], s.bytes = d, bytes
	l.shelves[namespace] = s
	return old == nil, nil
}

func (l *library) get(namespace, id string) (*registered, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	s := l.shelves[namespace]
	if s == nil {
		return nil, false
	}
	d, ok := s.byID[id]
	return d, ok
}

func (l *library) remove(namespace, id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.shelves[namespace]
	if s == nil || s.byID[id] == nil {
		return false
	}
	s.bytes -= s.byID[id].size()
	if delete(s.byID, id); len(s.byID) == 0 {
		delete(l.shelves, namespace)
	}
	return true
}

// list returns up to n documents whose ids come after the given one, in order of id,
// and whether there are more.
func (l *library) list(namespace, after string, n int) (page []*registered, more bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	s := l.shelves[namespace]
	if s == nil {
		return nil, false
	}
	ids := slices.Sorted(maps.Keys(s.byID))
	at, found := slices.BinarySearch(ids, after)
	if found {
		at++
	}
	ids = ids[at:]
	for _, id := range ids[:min(n, len(ids))] {
		page = append(page, s.byID[id])
	}
	return page, len(ids) > n
}
