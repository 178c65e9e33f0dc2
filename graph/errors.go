// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Errors that callers may test for with errors.Is. They arrive wrapped in a
// [SegmentError] or an [EdgeError] that names the offender.
var (
	ErrBadID            = errors.New("bad id")
	ErrBadSegment       = errors.New("bad segment")
	ErrDuplicateSegment = errors.New("duplicate segment id")
	ErrUnknownSegment   = errors.New("unknown segment")
	ErrUnknownSource    = errors.New("unknown source")
	ErrUnknownTarget    = errors.New("unknown target")
	ErrSelfEdge         = errors.New("self edge")
	ErrDuplicateEdge    = errors.New("duplicate edge")
	ErrTooLarge         = errors.New("too large")
)

// SegmentError reports a segment that cannot be added or is not there.
type SegmentError struct {
	Index int    // place of the segment, or the index that was asked for
	ID    string // empty when only an index was given
	Err   error
}

func (e *SegmentError) Error() string {
	if e.ID == "" {
		return fmt.Sprintf("graph: segment %d: %v", e.Index, e.Err)
	}
	return fmt.Sprintf("graph: segment %d %s: %v", e.Index, quote(e.ID), e.Err)
}

func (e *SegmentError) Unwrap() error { return e.Err }

// EdgeError reports an edge that cannot be part of the graph. An end that was
// given as an index outside the graph appears as "#index".
type EdgeError struct {
	Source, Target string
	Err            error
}

func (e *EdgeError) Error() string {
	return fmt.Sprintf("graph: edge %s → %s: %v", quote(e.Source), quote(e.Target), e.Err)
}

func (e *EdgeError) Unwrap() error { return e.Err }

// CycleError reports that a graph has no levels because of a cycle.
type CycleError struct {
	IDs     []string // along the edges, each id once; the last one is a source of the first
	Indices []int    // the same segments as dense indices
}

// Error names the ids in order, closing the cycle with the first one. The middle
// of a long cycle is left out; IDs has all of it.
func (e *CycleError) Error() string {
	const shown = 16
	var b strings.Builder
	b.WriteString("graph: cycle ")
	for i, id := range e.IDs {
		if i == shown-1 && len(e.IDs) > shown {
			fmt.Fprintf(&b, "… (%d more) → ", len(e.IDs)-shown)
			id = e.IDs[len(e.IDs)-1]
		}
		b.WriteString(quote(id))
		b.WriteString(" → ")
		if i == shown-1 {
			break
		}
	}
	if len(e.IDs) > 0 {
		b.WriteString(quote(e.IDs[0]))
	}
	return b.String()
}

// quote quotes an id for a message and cuts very long ones.
func quote(id string) string {
	const limit = 80
	if len(id) <= limit {
		return strconv.Quote(id)
	}
	cut := limit
	for cut > limit-4 && id[cut]&0xC0 == 0x80 {
		cut--
	}
	return strconv.Quote(id[:cut]) + "…"
}
