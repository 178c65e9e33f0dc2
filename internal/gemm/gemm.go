// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package gemm multiplies activations by packed weights: C = A·Wᵀ in float32.
//
// The weights of a model are multiplied thousands of times, so W is packed once into panels of 16 output rows (see Matrix) that a
// micro-kernel reads from front to back. Activations are packed per call, in tiles of a few rows, into a Workspace. A micro-kernel holds
// one tile of C in registers while it walks along k: 6×16 with AVX2, 14×32 with AVX-512. Kernels exist for every lower row count, so a
// decode step of one row does one row's work.
//
// Quantised weights stay as they are (see Format). Products of many rows expand a few panels at a time to float32, which all tiles then
// use from cache. Products of a few rows are bound by reading the weights, so their kernels take the quants apart in registers: the bytes
// that cross the memory bus are the packed ones.
//
// Every element of C is one chain of fused multiply-adds along k, from 0, in the order of k: never split over several accumulators. Its
// bits therefore depend on its row of A and its row of W alone: not on how many rows a call has, on the place of the row, on the number
// of workers, on whether weights were expanded before or during the product, or on which of the two assembly tiers computes it. Reuse of
// cached states relies on it: a segment encoded alone and one encoded in a batch are the same. The portable tier rounds products before
// adding, and keeps all of this but the equality with the assembly.
package gemm

import (
	"github.com/graphkv/graphkv/internal/cpu"
	"github.com/graphkv/graphkv/internal/mem"
	"github.com/graphkv/graphkv/internal/pool"
)

// Workspace holds what Mul needs beside its arguments: packed activations and, per worker, one tile of C and some expanded panels. It grows
// to the largest product it has served and makes further ones free of allocations. The zero value is ready; one Workspace serves one Mul at
// a time.
type Workspace struct {
	a       []float32 // packed activations: for each block of k, tile after tile, each [k][height]
	edge    []float32 // per worker: a tile that is not computed where it is to go
	panels  []float32 // per worker: expanded panels
	call    call
	packFn  func(worker, i int) // call.pack and call.mul as values, made once
	blockFn func(worker, i int)
}

// Product is one weight matrix to multiply by, and where the result goes: C[i·Ldc+j] for row i and output j or, if Rows is not nil,
// Rows[i][j].
type Product struct {
	W    *Matrix
	C    []float32
	Ldc  int
	Rows [][]float32
}

// check panics unless there is room for so many rows.
func (x *Product) check(rows int) {
	n := x.W.n
	if x.Rows != nil {
		if len(x.Rows) < rows {
			fail("MulEach", "%d rows for the result, want %d", len(x.Rows), rows)
		}
		for i, r := range x.Rows[:rows] {
			if len(r) < n {
				fail("MulEach", "row %d of the result has %d values, want %d", i, len(r), n)
			}
		}
		return
	}
	if x.Ldc < n {
		fail("Mul", "ldc %d is below N = %d", x.Ldc, n)
	}
	if len(x.C)-n < (rows-1)*x.Ldc {
		fail("Mul", "c has %d values, %d rows of stride %d need %d", len(x.C), rows, x.Ldc, (rows-1)*x.Ldc+n)
	}
}

// row returns row i of the result.
func (x *Product) row(i int) []float32 {
	if x.Rows != nil {
		return x.Rows[i][:x.W.n]
	}
	return x.C[i*x.Ldc:][:x.W.n]
}

// inPlace reports whether kernels write the tile of wide panels from p on where it is to go: its rows have a stride and its panels are full.
func (x *Product) inPlace(p, wide int) bool { return x.Rows == nil && (p+wide)*Panel <= x.W.n }

// call is what the tasks of one part of a product need to know: its arguments and how they are cut.
type call struct {
	products []Product
	first    []int // per product: its first task; then the number of tasks
	groups   []int // per product: tasks along its panels
	whole    []int // per product: how many of them take perGroup panels; the others take half a stream
	perGroup []int // per product: panels per task
	a        []float32
	lda, k   int
	kBlock   int // steps of k for which a block of tiles uses the same panels before the next steps
	kern     *kernels
	packed   []float32
	edge     []float32
	panels   []float32
	wide     int // panels that one worker's share of panels holds
	start    int // first row of this part
	rows     int // rows of this part
	tiles    int // the rows are cut into this many tiles of nearly equal height
	perBlock int // tiles per task
	ahead    ahead
}

const (
	// partFloats bounds the packed activations: larger products are done in parts of fewer rows.
	partFloats = 1 << 20
	// blockFloats is how much packed A a task works on, so that it stays in the second-level cache along with a few panels. Tasks on
	// quantised weights take more, since each of them expands its panels.
	blockFloats, blockFloatsQuantised = 1 << 16, 1 << 18
	// kBlock bounds the steps of k that all tiles of a block take before any takes more, so that two float32 panels stay in the first-level
	// cache. Sums wait in C meanwhile, which changes no bit of them.
	kBlock = 192
	// alone is the number of multiply-adds below which a product is not worth handing out.
	alone = 1 << 17
	// tasksPerWorker keeps workers busy when one of them is slower.
	tasksPerWorker = 8
	// mostPanels bounds a task, so that the last one to end does not keep the others waiting for long.
	mostPanels = 16
)

// Mul computes C = A·Wᵀ: c[i·ldc+j] = Σₚ a[i·lda+p]·W[j][p] for i < rows, j < N, with rows of A of length K. It runs on the workers of p, or
// on the caller alone if p is nil. c is overwritten and must not overlap a; values of c between rows (ldc > N) are left alone. NaN and
// infinities go the way of the formula. Mul panics with a *ShapeError if a stride or slice is too short.
func Mul(p *pool.Pool, ws *Workspace, c []float32, ldc int, a []float32, lda, rows int, w *Matrix) {
	MulEach(p, ws, a, lda, rows, Product{W: w, C: c, Ldc: ldc})
}

// MulEach is Mul for several matrices of the same K and the same A, as one parallel section. Their results must not overlap.
func MulEach(p *pool.Pool, ws *Workspace, a []float32, lda, rows int, products ...Product) {
	if rows < 0 {
		fail("Mul", "negative number of rows %d", rows)
	}
	if rows == 0 || len(products) == 0 {
		return
	}
	k, edges, quantised, block := products[0].W.k, false, false, 1
	for i := range products {
		x := &products[i]
		w := x.W
		if w.k != k {
			fail("MulEach", "matrices of %d and of %d columns", k, w.k)
		}
		x.check(rows)
		edges = edges || !x.inPlace(0, w.numPanels())
		quantised = quantised || w.format != F32
		block = max(block, w.format.Block()) // all of them are multiples of each other
	}
	if lda < k {
		fail("Mul", "lda %d is below K = %d", lda, k)
	}
	if len(a)-k < (rows-1)*lda {
		fail("Mul", "a has %d values, %d rows of stride %d need %d", len(a), rows, lda, (rows-1)*lda+k)
	}
	if k == 0 {
		for _, x := range products {
			for i := range rows {
				clear(x.row(i))
			}
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
	if n := workers * kern.rows * together * Panel; edges && len(ws.edge) < n {
		ws.edge = mem.Floats(n)
	}
	m := &ws.call
	m.products = append(m.products[:0], products...)
	m.a, m.lda, m.k, m.kern, m.edge = a, lda, k, kern, ws.edge
	m.kBlock = min(ceil(ceil(k, ceil(k, kBlock)), block)*block, k)
	parts := ceil(rows, max(partFloats/k, kern.rows))
	if few := len(kern.direct) - 1; quantised && few >= nextRows && rows <= 2*few {
		parts = max(parts, ceil(rows, few)) // taking weights apart twice is faster than storing them expanded for so few rows
	}
	for i := range parts {
		m.start = i * rows / parts
		m.rows = (i+1)*rows/parts - m.start
		m.tiles = ceil(m.rows, kern.rows)
		if m.wide = kern.panels[m.height()]; quantised && !m.direct() {
			if n := workers * m.wide * Panel * m.kBlock; len(ws.panels) < n {
				ws.panels = mem.Floats(n)
			}
			m.panels = ws.panels
		}
		ws.part(p, workers, quantised)
	}
	clear(m.products) // hold on to nothing
	m.a, m.packed, m.edge, m.panels = nil, nil, nil, nil
}

// part runs one part of a product: packs its rows, then computes its blocks.
func (ws *Workspace) part(p *pool.Pool, workers int, quantised bool) {
	m := &ws.call
	outputs := 0
	for _, x := range m.products {
		outputs += x.W.n
	}
	serial := workers == 1 || m.rows*outputs*m.k < alone
	if m.rows == 1 {
		m.packed = m.a[m.start*m.lda:] // a tile of one row is the row itself
	} else {
		if n := m.rows * m.k; len(ws.a) < n {
			ws.a = mem.Floats(n)
		}
		m.packed = ws.a
		run(p, serial, false, m.tiles, ws.packFn)
	}
	// Of a single tile of rows, tasks read weights that follow each other in memory.
	run(p, serial, m.tiles == 1, m.cut(workers, quantised), ws.blockFn)
}

func run(p *pool.Pool, serial, near bool, n int, body func(worker, i int)) {
	switch {
	case serial:
		for i := range n {
			body(0, i)
		}
	case near:
		p.ForNear(n, body)
	default:
		p.For(n, body)
	}
}

// cut decides the tasks: blocks of tiles whose packed rows fit a cache, times groups of panels, enough of them for the workers. It returns
// their number.
func (m *call) cut(workers int, quantised bool) int {
	size := blockFloats
	if quantised {
		size = blockFloatsQuantised
	}
	fit := max(size/(m.height()*m.k), 1)
	m.perBlock = ceil(m.tiles, ceil(m.tiles, fit))
	blocks := ceil(m.tiles, m.perBlock)
	panels := 0
	for _, x := range m.products {
		panels += x.W.numPanels()
	}
	per := min(panels*blocks/(workers*tasksPerWorker), mostPanels)
	m.first, m.groups, m.whole, m.perGroup = m.first[:0], m.groups[:0], m.whole[:0], m.perGroup[:0]
	tasks, streams := 0, 0
	for i, x := range m.products {
		n := x.W.numPanels()
		wide := m.width(x.W)
		for wide > max(per, 1) {
			wide /= 2
		}
		perGroup, tail := max(per/wide*wide, 1), 0
		if x.W.format != F32 && m.direct() {
			// Whole streams, or the memory is read twice. What is over after each worker has had as many is cut finer.
			perGroup = max(per/together, 1) * together
			streams += ceil(n, together)
			if i == len(m.products)-1 && perGroup == together && n%together == 0 && workers > 1 {
				tail = min(streams%workers, n/together)
			}
		}
		whole := ceil(n-tail*together, perGroup)
		m.first = append(m.first, tasks)
		m.perGroup = append(m.perGroup, perGroup)
		m.whole = append(m.whole, whole)
		m.groups = append(m.groups, whole+2*tail)
		tasks += blocks * (whole + 2*tail)
	}
	return tasks
}

func ceil(a, b int) int { return (a + b - 1) / b }

// height returns the height of the tallest tile; the others are at most one row lower.
func (m *call) height() int { return ceil(m.rows, m.tiles) }

// tile returns the rows of tile t.
func (m *call) tile(t int) (from, to int) { return t * m.rows / m.tiles, (t + 1) * m.rows / m.tiles }

// direct tells whether quantised weights are multiplied without being expanded.
func (m *call) direct() bool { return m.rows < len(m.kern.direct) }

// width returns how many panels of w a kernel takes at once. Tiles one row lower have a kernel of this width too.
func (m *call) width(w *Matrix) int {
	if w.format != F32 && m.direct() {
		return m.kern.direct[m.rows]
	}
	return m.wide
}

// pack interleaves the rows of tile t: [k][height], in each block of k after the tiles before it, as the kernels come by.
func (m *call) pack(_, t int) {
	from, to := m.tile(t)
	for k0 := 0; k0 < m.k; k0 += m.kBlock {
		m.kern.pack(m.rowsOf(from, to, k0), m.a[(m.start+from)*m.lda+k0:], m.lda, to-from, min(m.kBlock, m.k-k0))
	}
}

// rowsOf returns the place of a tile's packed rows in the block of k that starts at k0.
func (m *call) rowsOf(from, to, k0 int) []float32 {
	n := min(m.kBlock, m.k-k0)
	return m.packed[k0*m.rows+from*n : k0*m.rows+to*n]
}

// block computes one task: a block of tiles times a group of panels of one matrix. The widest kernel's panels stay in cache while the tiles
// of the block pass by.
func (m *call) block(worker, task int) {
	i := len(m.first) - 1
	for task < m.first[i] {
		i--
	}
	task -= m.first[i]
	x := &m.products[i]
	b, g := task/m.groups[i], task%m.groups[i]
	full := x.W.n / Panel // panels that are full; one more follows if Panel does not divide N
	begin, end := g*m.perGroup[i], min((g+1)*m.perGroup[i], x.W.numPanels())
	if over := g - m.whole[i]; over >= 0 {
		begin = m.whole[i]*m.perGroup[i] + over*together/2
		end = begin + together/2
	}
	for p := begin; p < end; {
		wide := 1
		if p < full {
			for wide = m.width(x.W); p+wide > min(end, full); {
				wide /= 2
			}
		}
		m.tileRow(worker, b, x, p, wide)
		p += wide
	}
}

// tileRow computes a block of tiles times the panels from p on, as many as one kernel takes.
func (m *call) tileRow(worker, b int, x *Product, p, wide int) {
	w, k := x.W, m.k
	first, last := b*m.perBlock, min((b+1)*m.perBlock, m.tiles)
	if w.format != F32 && m.direct() {
		c, ldc := m.target(worker, x, p, wide, 0, m.rows, false)
		packed, stride := w.blocks(p, 0)
		next := &packed[0] // which is being read anyway
		if m.rows >= nextRows {
			next = m.ahead.take(k, next)
		}
		m.kern.runPacked(c, ldc, m.packed[:m.rows*k], packed, w.format, stride, m.rows, wide, next)
		m.finish(x, c, p, wide, 0, m.rows)
		return
	}
	for k0 := 0; k0 < k; k0 += m.kBlock {
		n := min(m.kBlock, k-k0)
		var panels []float32
		stride := k * Panel
		if w.format == F32 {
			panels = w.panels[p*stride+k0*Panel:]
		} else {
			packed, apart := w.blocks(p, k0)
			stride = n * Panel
			panels = m.panels[worker*m.wide*Panel*m.kBlock:][:wide*stride]
			m.kern.expand(panels, packed, w.format, apart, wide, n)
		}
		for t := first; t < last; t++ {
			from, to := m.tile(t)
			c, ldc := m.target(worker, x, p, wide, from, to, k0 > 0)
			m.kern.run(c, ldc, m.rowsOf(from, to, k0), panels, stride, to-from, wide, k0 > 0)
			m.finish(x, c, p, wide, from, to)
		}
	}
}

// target returns where the kernel writes a tile: in C, or in the worker's own tile, with what the result holds if more.
func (m *call) target(worker int, x *Product, p, wide, from, to int, more bool) (c []float32, ldc int) {
	if x.inPlace(p, wide) {
		return x.C[(m.start+from)*x.Ldc+p*Panel:], x.Ldc
	}
	ldc = wide * Panel
	size := m.kern.rows * together * Panel
	edge := m.edge[worker*size:][:size]
	if more {
		for i := range to - from {
			copy(edge[i*ldc:][:ldc], x.row(m.start + from + i)[p*Panel:])
		}
	}
	return edge, ldc
}

// finish takes a tile that is not in C there.
func (m *call) finish(x *Product, tile []float32, p, wide, from, to int) {
	if x.inPlace(p, wide) {
		return
	}
	ldc := wide * Panel
	for i := range to - from {
		copy(x.row(m.start + from + i)[p*Panel:], tile[i*ldc:][:ldc])
	}
}
