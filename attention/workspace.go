// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"sync/atomic"

	"github.com/graphkv/graphkv/internal/pool"
)

// ErrBusy is returned by Attend when another call is using the workspace.
var ErrBusy = errors.New("attention: Workspace is in use by another call")

// Workspace holds the scratch memory of Attend. It grows to what the largest call needs and is then reused, so that further calls allocate
// nothing. The zero value is ready. One call at a time may use it; it may serve kernels of different shapes, one after the other.
type Workspace struct {
	busy    atomic.Bool
	kernel  *Kernel // of the call under way
	queries []Query
	tiles   []tile // longest first
	scratch []scratch
	body    func(worker, i int)
	along   func(worker, i int)
	decode  decode

	masked     MaskedQuery // of AttendMask
	one        [1]Query
	maskedBody func(worker, i int)
}

// tile is a run of rows of one query over a range of its keys.
type tile struct {
	query, row, rows int32
	part, key, keys  int32 // from which part and key, over how many keys
	piece            int32 // where the result of a range waits to be merged; −1 for all keys
	cost             int64
}

// lanes returns the number of lanes of a tile.
func (t tile) lanes(k *Kernel) int { return int(t.rows) * k.group }

// Tiles have up to tileLanes lanes, which share each load of a key from memory. Where that makes fewer than tilesPerWorker tiles for each
// worker they get fewer, down to smallLanes.
const (
	tileLanes      = 448
	smallLanes     = 14
	tilesPerWorker = 6
)

// prepare cuts the queries into tiles and readies the scratch memory.
func (ws *Workspace) prepare(k *Kernel, queries []Query, workers int) {
	ws.kernel, ws.queries = k, queries
	rows := max(1, tileLanes/k.group)
	for ; rows > 1 && rows*k.group > smallLanes; rows = (rows + 1) / 2 {
		n := 0
		for i := range queries {
			n += (queries[i].Rows + rows - 1) / rows
		}
		if n*k.kvHeads >= tilesPerWorker*workers {
			break
		}
	}
	ws.cut(rows)
	widen := false
	for i := range queries {
		for j := range queries[i].Parts {
			widen = widen || queries[i].Parts[j].KV.format != F32
		}
	}
	ws.ready(workers, rows, widen, 0)
}

// ready prepares the scratch memory of all workers for tiles of up to rows rows.
func (ws *Workspace) ready(workers, rows int, widen bool, words int) {
	for len(ws.scratch) < workers {
		ws.scratch = append(ws.scratch, scratch{})
	}
	for i := range ws.scratch[:workers] {
		ws.scratch[i].resize(rows*ws.kernel.group, ws.kernel.headDim, widen, words)
	}
	if ws.body == nil {
		ws.body, ws.along, ws.decode.body, ws.maskedBody = ws.run, ws.runAlong, ws.merge, ws.runMasked
	}
}

// cut lists the tiles of up to rows rows, those with the most work first: a long one at the end would leave the other workers idle.
func (ws *Workspace) cut(rows int) {
	ws.tiles = ws.tiles[:0]
	ws.decode.reset()
	for i := range ws.queries {
		q := &ws.queries[i]
		n := (q.Rows + rows - 1) / rows
		for r := range n {
			from, to := r*q.Rows/n, (r+1)*q.Rows/n
			t := tile{query: int32(i), row: int32(from), rows: int32(to - from), keys: math.MaxInt32, piece: -1}
			if q.Decode && ws.cutKeys(q, t) {
				continue
			}
			t.cost = int64(t.rows)
			for j := range q.Parts {
				t.cost += int64(t.rows) * int64(q.Parts[j].bound(from)+q.Parts[j].bound(to-1))
			}
			ws.tiles = append(ws.tiles, t)
		}
	}
	slices.SortStableFunc(ws.tiles, func(a, b tile) int { return cmp.Compare(b.cost, a.cost) })
	ws.decode.resize(ws.kernel)
}

// finish forgets the caller's memory.
func (ws *Workspace) finish() {
	ws.kernel, ws.queries = nil, nil
	ws.masked, ws.one[0] = MaskedQuery{}, Query{}
	for i := range ws.scratch {
		ws.scratch[i].nextKeys, ws.scratch[i].nextValues = nil, nil
	}
	ws.busy.Store(false)
}

// run computes task i: one tile for one key/value head.
func (ws *Workspace) run(worker, i int) {
	ws.attend(worker, ws.tiles[i/ws.kernel.kvHeads], i%ws.kernel.kvHeads)
}

// runAlong is run for ranges of keys, head by head, since those of a head follow each other in memory.
func (ws *Workspace) runAlong(worker, i int) {
	ws.attend(worker, ws.tiles[i%len(ws.tiles)], i/len(ws.tiles))
}

func (ws *Workspace) attend(worker int, t tile, kv int) {
	k := ws.kernel
	s, q := &ws.scratch[worker], &ws.queries[t.query]
	k.attendTile(s, q, t, kv)
	if t.piece < 0 {
		k.store(s, q, t, kv)
	} else {
		ws.decode.keep(k, s, t, kv)
	}
}

// Attend computes every query's output, and its log-sum-exp where wanted, on the workers of p; nil stands for the pool that the process
// shares, of GOMAXPROCS workers. ws may be nil, at the price of allocating. A *QueryError says what is wrong with an argument, in which
// case nothing was written.
//
// The cost grows with the pairs of a row and a key in a part, in units of tiles and blocks, and with the number of parts, not with anything
// that is absent.
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
	if len(ws.tiles) == ws.decode.pieces {
		p.ForNear(len(ws.tiles)*k.kvHeads, ws.along)
	} else {
		p.For(len(ws.tiles)*k.kvHeads, ws.body)
	}
	p.For(len(ws.decode.split)*k.kvHeads, ws.decode.body)
	return nil
}
