// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package gemm multiplies activations by packed weights: C = A·Wᵀ in float32.
//
// The weights of a model are multiplied thousands of times, so W is packed once into panels of 16 output rows (see Matrix) that a
// micro-kernel reads from front to back. Activations are packed per call, in tiles of a few rows, into a Workspace. A micro-kernel holds
// one tile of C in registers while it walks along k: 6×16 with AVX2, 14×32 with AVX-512. Kernels exist for every lower row count, so a
// decode step of one row does one row's work.
//
// Every element of C is one chain of fused multiply-adds along k, from 0, in the order of k: never split over several accumulators. Its
// bits therefore depend on its row of A and its row of W alone: not on how many rows a call has, on the place of the row, on the number
// of workers, or on which of the two assembly tiers computes it. Reuse of cached states relies on it: a segment encoded alone and one encoded
// in a batch are the same. The portable tier rounds products before adding, and keeps all of this but the equality with the assembly.
package gemm

import (
	"github.com/graphkv/graphkv/internal/cpu"
	"github.com/graphkv/graphkv/internal/pool"
)

// Workspace holds what Mul needs beside its arguments: packed activations and one tile of C per worker. It grows to the largest product it
// has served and makes further ones free of allocations. The zero value is ready; one Workspace serves one Mul at a time.
type Workspace struct {
	a       []float32 // packed activations: tile after tile, each [k][height]
	edge    []float32 // per worker: a tile of C whose last panel is not full
	call    call
	packFn  func(worker, i int) // call.pack and call.mul as values, made once
	blockFn func(worker, i int)
}

// call is one product: the arguments of Mul and how they are cut into tasks.
type call struct {
	c        []float32
	ldc      int
	a        []float32
	lda      int
	w        *Matrix
	kern     *kernels
	packed   []float32
	edge     []float32
	rows     int // rows of this part
	tiles    int // the rows are cut into this many tiles of nearly equal height
	perBlock int // tiles per task
	perGroup int // panels per task
	groups   int // tasks along the panels
}

const (
	// partFloats bounds the packed activations: larger products are done in parts of fewer rows.
	partFloats = 1 << 20
	// blockFloats is how much packed A a task works on, so that it stays in the second-level cache along with a few panels.
	blockFloats = 1 << 16
	// alone is the number of multiply-adds below which a product is not worth handing out.
	alone = 1 << 17
	// tasksPerWorker keeps workers busy when one of them is slower.
	tasksPerWorker = 8
)

// Mul computes C = A·Wᵀ: c[i·ldc+j] = Σₚ a[i·lda+p]·W[j][p] for i < rows, j < N, with rows of A of length K. It runs on the workers of p, or
// on the caller alone if p is nil. c is overwritten and must not overlap a; values of c between rows (ldc > N) are left alone. NaN and
// infinities go the way of the formula. Mul panics with a *ShapeError if a stride or slice is too short.
func Mul(p *pool.Pool, ws *Workspace, c []float32, ldc int, a []float32, lda, rows int, w *Matrix) {
	if rows < 0 {
		fail("Mul", "negative number of rows %d", rows)
	}
	if rows == 0 || w.n == 0 {
		return
	}
	if ldc < w.n {
		fail("Mul", "ldc %d is below N = %d", ldc, w.n)
	}
	if lda < w.k {
		fail("Mul", "lda %d is below K = %d", lda, w.k)
	}
	if len(c)-w.n < (rows-1)*ldc {
		fail("Mul", "c has %d values, %d rows of stride %d need %d", len(c), rows, ldc, (rows-1)*ldc+w.n)
	}
	if len(a)-w.k < (rows-1)*lda {
		fail("Mul", "a has %d values, %d rows of stride %d need %d", len(a), rows, lda, (rows-1)*lda+w.k)
	}
	if w.k == 0 {
		for i := range rows {
			clear(c[i*ldc : i*ldc+w.n])
		}
		return
	}
	workers := 1
	if p != nil {
		workers = p.Workers()
	}
	kern := kernelsFor(cpu.Current())
	if ws.packFn == nil {
		ws.packFn, ws.blockFn = ws.call.pack, ws.call.block
	}
	if n := workers * kern.rows * Panel; w.n%Panel != 0 && len(ws.edge) < n {
		ws.edge = aligned(n)
	}
	parts := ceil(rows, max(partFloats/w.k, kern.rows))
	for i := range parts {
		from, to := i*rows/parts, (i+1)*rows/parts
		ws.call = call{c: c[from*ldc:], ldc: ldc, a: a[from*lda:], lda: lda, w: w, kern: kern, edge: ws.edge, rows: to - from}
		ws.part(p, workers)
	}
	ws.call = call{} // hold on to nothing
}

// part runs one part of a product: packs its rows, then computes its blocks.
func (ws *Workspace) part(p *pool.Pool, workers int) {
	m := &ws.call
	m.tiles = ceil(m.rows, m.kern.rows)
	serial := workers == 1 || m.rows*m.w.n*m.w.k < alone
	if m.rows == 1 {
		m.packed = m.a // a tile of one row is the row itself
	} else {
		if n := m.rows * m.w.k; len(ws.a) < n {
			ws.a = aligned(n)
		}
		m.packed = ws.a
		run(p, serial, m.tiles, ws.packFn)
	}
	m.cut(workers)
	run(p, serial, ceil(m.tiles, m.perBlock)*m.groups, ws.blockFn)
}

func run(p *pool.Pool, serial bool, n int, body func(worker, i int)) {
	if serial {
		for i := range n {
			body(0, i)
		}
		return
	}
	p.For(n, body)
}

// cut decides the tasks: blocks of tiles whose packed rows fit blockFloats, times groups of panels, enough of them for the workers.
func (m *call) cut(workers int) {
	fit := max(blockFloats/(m.height()*m.w.k), 1)
	m.perBlock = ceil(m.tiles, ceil(m.tiles, fit))
	blocks := ceil(m.tiles, m.perBlock)
	panels, wide := ceil(m.w.n, Panel), m.kern.panels[m.height()]
	groups := min(ceil(workers*tasksPerWorker, blocks), ceil(panels, wide))
	m.perGroup = ceil(ceil(panels, groups), wide) * wide
	m.groups = ceil(panels, m.perGroup)
}

func ceil(a, b int) int { return (a + b - 1) / b }

// height returns the height of the tallest tile; the others are at most one row lower.
func (m *call) height() int { return ceil(m.rows, m.tiles) }

// tile returns the rows of tile t.
func (m *call) tile(t int) (from, to int) { return t * m.rows / m.tiles, (t + 1) * m.rows / m.tiles }

// pack interleaves the rows of tile t: [k][height]. It goes along k in short runs, so that what it writes row by row stays in cache.
func (m *call) pack(_, t int) {
	const run = 256
	from, to := m.tile(t)
	h, k := to-from, m.w.k
	for p := 0; p < k; p += run {
		n := min(run, k-p)
		m.kern.pack(m.packed[from*k+p*h:][:n*h], m.a[from*m.lda+p:], m.lda, h, n)
	}
}

// block computes one task: a block of tiles times a group of panels. The widest kernel's panels stay in cache while the tiles of the block
// pass by.
func (m *call) block(worker, task int) {
	b, g := task/m.groups, task%m.groups
	first, last := b*m.perBlock, min((b+1)*m.perBlock, m.tiles)
	full := m.w.n / Panel // panels that are full; one more follows if Panel does not divide N
	begin, end := g*m.perGroup, min((g+1)*m.perGroup, ceil(m.w.n, Panel))
	k := m.w.k
	for p := begin; p < min(end, full); {
		wide := m.kern.panels[m.height()] // a power of two; tiles one row lower have a kernel of this width too
		for p+wide > min(end, full) {
			wide /= 2
		}
		for t := first; t < last; t++ {
			from, to := m.tile(t)
			m.kern.run(m.c[from*m.ldc+p*Panel:], m.ldc, m.packed[from*k:to*k], m.w.panels[p*Panel*k:(p+wide)*Panel*k], to-from, wide)
		}
		p += wide
	}
	if end <= full {
		return
	}
	edge := m.edge[worker*m.kern.rows*Panel:][:m.kern.rows*Panel]
	for t := first; t < last; t++ {
		from, to := m.tile(t)
		m.kern.run(edge, Panel, m.packed[from*k:to*k], m.w.panels[full*Panel*k:], to-from, 1)
		for i := from; i < to; i++ {
			copy(m.c[i*m.ldc+full*Panel:][:m.w.n-full*Panel], edge[(i-from)*Panel:])
		}
	}
}
