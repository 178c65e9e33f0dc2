// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/graphkv/graphkv/internal/pool"
	"github.com/graphkv/graphkv/mask"
)

// MaskedQuery is a run of rows of one flat sequence under a block-sparse mask. Where a reader sees each source at a position of its own, use
// parts: here a token has one position, its place in the sequence.
type MaskedQuery struct {
	Q, Out, LSE []float32 // as in Query, for the rows of the run
	// The run is the tokens First…First+Rows−1. First is a multiple of the mask's block size.
	First, Rows int
	KV          KV // of the whole sequence, Mask.Tokens() tokens or more; keys rotated at their places, if at all
	Mask        *mask.Mask
}

// AttendMask computes the rows' output, and their log-sum-exp where wanted. Blocks that the mask leaves out cost nothing, full ones are
// computed without a test per pair, and of partial ones each row's bits are drawn from the mask. The mask's block size must be a multiple
// of 16; the larger, up to 128, the less is lost between blocks. Workers, workspace and errors are those of Attend.
//
// A row's result depends on the mask, not on which other rows are computed with it.
func (k *Kernel) AttendMask(p *pool.Pool, ws *Workspace, q MaskedQuery) error {
	if reason := k.checkMasked(&q); reason != "" {
		return &QueryError{Part: -1, Reason: reason}
	}
	query := Query{Q: q.Q, Out: q.Out, LSE: q.LSE, Rows: q.Rows}
	if err := k.check(0, &query); err != nil {
		return err
	}
	if p == nil {
		p = pool.Default()
	}
	if ws == nil {
		ws = new(Workspace)
	}
	if !ws.busy.CompareAndSwap(false, true) {
		return ErrBusy
	}
	defer ws.finish()
	ws.masked, ws.kernel = q, k
	ws.one[0] = query
	ws.queries = ws.one[:]
	ws.ready(p.Workers(), ws.cutBlocks(p.Workers()), q.KV.format != F32, q.Mask.BlockSize()*q.Mask.Stride())
	p.For(len(ws.tiles)*k.kvHeads, ws.maskedBody)
	return nil
}

func (k *Kernel) checkMasked(q *MaskedQuery) string {
	if q.Mask == nil {
		return "Mask is nil"
	}
	size, tokens := q.Mask.BlockSize(), q.Mask.Tokens()
	switch {
	case size%panelKeys != 0:
		return fmt.Sprintf("the mask's blocks are of %d tokens, want a multiple of %d", size, panelKeys)
	case q.First < 0 || q.Rows < 0 || q.First%size != 0 || q.Rows > tokens-q.First:
		return fmt.Sprintf("rows %d to %d of %d tokens; First must be a multiple of %d", q.First, q.First+q.Rows, tokens, size)
	case q.KV.tokens < tokens:
		return fmt.Sprintf("KV has %d tokens, the mask %d", q.KV.tokens, tokens)
	case tokens > 0 && (q.KV.kvHeads != k.kvHeads || q.KV.headDim != k.headDim):
		return fmt.Sprintf("KV has %d heads of %d elements, want %d of %d", q.KV.kvHeads, q.KV.headDim, k.kvHeads, k.headDim)
	}
	return ""
}

// cutBlocks lists the tiles of a masked query, which lie within rows of blocks, and returns how many rows they have at most.
func (ws *Workspace) cutBlocks(workers int) int {
	q, k := &ws.masked, ws.kernel
	size := q.Mask.BlockSize()
	rows := max(1, min(size, tileLanes/k.group))
	for rows > 1 && rows*k.group > smallLanes && (q.Rows+rows-1)/rows*k.kvHeads < tilesPerWorker*workers {
		rows = (rows + 1) / 2
	}
	ws.tiles = ws.tiles[:0]
	for from := 0; from < q.Rows; from += size {
		all := min(size, q.Rows-from)
		cols, _ := q.Mask.Row((q.First + from) / size)
		n := (all + rows - 1) / rows
		for i := range n {
			lo, hi := from+i*all/n, from+(i+1)*all/n
			ws.tiles = append(ws.tiles, tile{row: int32(lo), rows: int32(hi - lo), piece: -1, cost: int64(hi-lo) * int64(1+len(cols))})
		}
	}
	slices.SortStableFunc(ws.tiles, func(a, b tile) int { return cmp.Compare(b.cost, a.cost) })
	return rows
}

// runMasked computes task i: one tile for one key/value head.
func (ws *Workspace) runMasked(worker, i int) {
	k, t, kv := ws.kernel, ws.tiles[i/ws.kernel.kvHeads], i%ws.kernel.kvHeads
	s, q := &ws.scratch[worker], &ws.queries[0]
	k.attendMasked(s, q, &ws.masked, t, kv)
	k.store(s, q, t, kv)
}

// attendMasked is attendTile over the blocks of one row of a mask.
func (k *Kernel) attendMasked(s *scratch, q *Query, m *MaskedQuery, t tile, kv int) {
	s.begin(t.lanes(k), k.headDim)
	s.weightless = q.weightless()
	k.pack(s, q, t, kv, m.First, k.scale*math.Log2E, true)
	size, tokens := m.Mask.BlockSize(), m.Mask.Tokens()
	row := (m.First + int(t.row)) / size
	p := Part{KV: m.KV, Len: tokens}
	k.setBias(s, &p, kv)
	cols, kinds := m.Mask.Row(row)
	for c := 0; c < len(cols); {
		from, kind := int(cols[c])*size, kinds[c]
		end := from + size
		p.Mask = nil
		if c++; kind == mask.Full { // full blocks that follow each other are one
			for ; c < len(cols) && kinds[c] == mask.Full && int(cols[c])*size == end; c++ {
				end += size
			}
		} else {
			stride := m.Mask.Stride()
			s.words = m.Mask.Bitmap(s.words, row, from/size)
			s.bitmap = Bitmap{rows: size, cols: size, stride: stride, words: s.words, row0: row*size - m.First, col0: from}
			p.Mask = &s.bitmap
		}
		end = min(end, tokens)
		for j := from; j < end; j += blockKeys {
			s.nextKeys, s.nextValues = nil, nil
			if next := j + blockKeys; next < end {
				s.nextKeys, s.nextValues = m.KV.Memory(kv, next, min(blockKeys, end-next))
			} else if c < len(cols) {
				next = int(cols[c]) * size
				s.nextKeys, s.nextValues = m.KV.Memory(kv, next, min(blockKeys, size, tokens-next))
			}
			k.attendBlock(s, &p, t, kv, j, min(blockKeys, end-j), false)
		}
	}
}
