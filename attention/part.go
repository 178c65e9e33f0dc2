// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention

import (
	"fmt"
	"math"
)

// Part is one source of keys and values as one reader sees it.
type Part struct {
	// KV holds the keys and values, of which the first Len tokens are used.
	KV  KV
	Len int // 0 contributes nothing
	// Shift is the position of query row 0 minus the position of key 0, that is of
	// the key that was rotated to 0. Row i is rotated to Shift+i, which may be
	// negative.
	Shift int
	// Causal limits row i to the keys j ≤ i+Offset.
	Causal bool
	Offset int
	// Scale multiplies Config.Scale. 0 means 1. It is the inverse of a temperature.
	Scale float32
	// Bias holds one number per query head, [Heads], added to the scaled scores.
	// −Inf hides the part from a head. Nil means none.
	Bias []float32
	// Mask limits rows to the keys whose bit is set, together with Causal. It has
	// as many rows as the query and Len columns. Nil means all.
	Mask *Bitmap
}

// Query is a run of query rows that all read the same parts.
type Query struct {
	Q []float32 // [Rows][Heads·HeadDim], not rotated; only read
	// Out receives [Rows][Heads·HeadDim]. It may be the same slice as Q and must
	// not overlap anything else that the call reads or writes. Nil means that only LSE
	// is wanted, for which no value is read; the query must not have Decode then.
	Out []float32
	// LSE receives the log-sum-exp of the scores, [Rows][Heads], natural
	// logarithm. Nil means that it is not wanted.
	LSE   []float32
	Rows  int
	Parts []Part // summed in this order
	// Decode splits the work over keys as well as rows: for one or a few rows over long parts, such as a step of generation. Its results
	// differ from those without by rounding, and are otherwise as independent of other rows, queries and workers.
	Decode bool
}

// weightless reports whether only the log-sum-exp is wanted.
func (q *Query) weightless() bool { return q.Out == nil && q.LSE != nil }

// QueryError says which query, and which of its parts, Attend refuses and why.
type QueryError struct {
	Query int // index into the queries of the call
	Part  int // index into the query's parts, −1 when it concerns the query itself
	// Reason names the field, its value and the limit.
	Reason string
}

func (e *QueryError) Error() string {
	if e.Part < 0 {
		return fmt.Sprintf("attention: query %d: %s", e.Query, e.Reason)
	}
	return fmt.Sprintf("attention: query %d: part %d: %s", e.Query, e.Part, e.Reason)
}

// check validates query i before any of the call's output is written.
func (k *Kernel) check(i int, q *Query) error {
	bad := func(format string, args ...any) error {
		return &QueryError{Query: i, Part: -1, Reason: fmt.Sprintf(format, args...)}
	}
	width := k.heads * k.headDim
	if q.Rows < 0 || q.Rows > math.MaxInt32 {
		return bad("Rows is %d, want 0 to %d", q.Rows, math.MaxInt32)
	}
	if q.weightless() && q.Decode {
		return bad("Out is nil, which Decode needs")
	}
	if n := q.Rows * width; len(q.Q) < n || len(q.Out) < n && !q.weightless() {
		return bad("Q and Out have %d and %d elements, %d rows need %d", len(q.Q), len(q.Out), q.Rows, n)
	}
	if n := q.Rows * k.heads; q.LSE != nil && len(q.LSE) < n {
		return bad("LSE has %d elements, %d rows need %d", len(q.LSE), q.Rows, n)
	}
	for j := range q.Parts {
		if reason := k.checkPart(&q.Parts[j], q.Rows); reason != "" {
			return &QueryError{Query: i, Part: j, Reason: reason}
		}
	}
	return nil
}

// checkPart returns what is wrong with p, or "".
func (k *Kernel) checkPart(p *Part, rows int) string {
	if p.Len < 0 || p.Len > math.MaxInt32 {
		return fmt.Sprintf("Len is %d, want 0 to %d", p.Len, math.MaxInt32)
	}
	if p.Len > p.KV.tokens {
		return fmt.Sprintf("Len is %d, KV has %d tokens", p.Len, p.KV.tokens)
	}
	if p.Len > 0 && (p.KV.kvHeads != k.kvHeads || p.KV.headDim != k.headDim) {
		return fmt.Sprintf("KV has %d heads of %d elements, want %d of %d", p.KV.kvHeads, p.KV.headDim, k.kvHeads, k.headDim)
	}
	if !finite(p.Scale) {
		return fmt.Sprintf("Scale is %v", p.Scale)
	}
	if p.Bias != nil && len(p.Bias) != k.heads {
		return fmt.Sprintf("Bias has %d elements for %d heads", len(p.Bias), k.heads)
	}
	for h, b := range p.Bias {
		if b != b || b > math.MaxFloat32 {
			return fmt.Sprintf("Bias of head %d is %v", h, b)
		}
	}
	if p.Mask != nil && (p.Mask.rows != rows || p.Mask.cols != p.Len) {
		return fmt.Sprintf("Mask is %d × %d, want %d query rows × Len %d", p.Mask.rows, p.Mask.cols, rows, p.Len)
	}
	return ""
}

// visible returns the keys that row i sees of the n keys from j0, 64 at most, as
// bits. j0 is a multiple of 64 from the first key of the mask.
func (p *Part) visible(i, j0, n int) uint64 {
	if p.Causal {
		n = min(n, p.bound(i)-j0)
	}
	w := span(0, n)
	if p.Mask != nil && w != 0 {
		w &= p.Mask.words[(i-p.Mask.row0)*p.Mask.stride+(j0-p.Mask.col0)/wordBits]
	}
	return w
}

// bound returns the number of leading keys that row i may see.
func (p *Part) bound(i int) int {
	if !p.Causal {
		return p.Len
	}
	if p.Offset >= p.Len { // also keeps i+Offset+1 from overflowing
		return p.Len
	}
	return min(max(i+1+p.Offset, 0), p.Len)
}
