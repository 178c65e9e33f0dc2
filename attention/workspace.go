// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention

import (
	"errors"
	"sync/atomic"

	"github.com/graphkv/graphkv/internal/pool"
)

// ErrBusy is returned by Attend when another call is using the workspace.
var ErrBusy = errors.New("attention: Workspace is in use by another call")

// Workspace holds the scratch memory of Attend. It grows to what the largest
// call needs and is then reused, so that further calls allocate nothing. The
// zero value is ready. One call at a time may use it; it may serve kernels of
// different shapes, one after the other.
type Workspace struct {
	busy    atomic.Bool
	kernel  *Kernel // of the call under way
	queries []Query
	tiles   []tile
	scratch []scratch // one per worker
	body    func(worker, i int)
}

// tile is a run of rows of one query.
type tile struct{ query, row, rows int32 }

// prepare cuts the queries into tiles and readies the scratch memory.
func (ws *Workspace) prepare(k *Kernel, queries []Query, workers int) {
	ws.kernel, ws.queries = k, queries
	rows := max(1, tileLanes/k.group)
	if small := max(1, panelLanes/k.group); small < rows {
		// Too few tiles leave workers without work; smaller ones load keys more often.
		n := 0
		for i := range queries {
			n += (queries[i].Rows + rows - 1) / rows
		}
		if n*k.kvHeads < 4*workers {
			rows = small
		}
	}
	ws.cut(rows)
	for len(ws.scratch) < workers {
		ws.scratch = append(ws.scratch, scratch{})
	}
	panels := (rows*k.group + panelLanes - 1) / panelLanes
	for i := range ws.scratch[:workers] {
		ws.scratch[i].resize(panels, k.headDim)
	}
	if ws.body == nil {
		ws.body = ws.run
	}
}

// cut lists the tiles of up to rows rows.
func (ws *Workspace) cut(rows int) {
	ws.tiles = ws.tiles[:0]
	for i := range ws.queries {
		for r := 0; r < ws.queries[i].Rows; r += rows {
			ws.tiles = append(ws.tiles, tile{int32(i), int32(r), int32(min(rows, ws.queries[i].Rows-r))})
		}
	}
}

// finish forgets the caller's memory.
func (ws *Workspace) finish() {
	ws.kernel, ws.queries = nil, nil
	ws.busy.Store(false)
}

// run computes task i: one tile for one key/value head. Tiles run fastest, so
// that those which follow each other read the same keys.
func (ws *Workspace) run(worker, i int) {
	t := ws.tiles[i%len(ws.tiles)]
	ws.kernel.attendTile(&ws.scratch[worker], &ws.queries[t.query], int(t.row), int(t.rows), i/len(ws.tiles))
}

// Attend computes every query's output, and its log-sum-exp where wanted, on
// the workers of p; nil stands for the pool that the process shares, of
// GOMAXPROCS workers. ws may be nil, at the price of allocating. A *QueryError
// says what is wrong with an argument, in which case nothing was written.
//
// The cost grows with the pairs of a row and a key in a part, in units of tiles
// and blocks, and with the number of parts, not with anything that is absent.
func (k *Kernel) Attend(p *pool.Pool, ws *Workspace, queries []Query) error {
	for i := range queries {
		if err := k.check(i, &queries[i]); err != nil {
			return err
		}
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
	ws.prepare(k, queries, p.Workers())
	p.For(len(ws.tiles)*k.kvHeads, ws.body)
	return nil
}
