// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph

import (
	"cmp"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// Neighbourhood is a segment's surroundings as far as Radius steps. As a graph it
// is [Graph.Induced] by its segments.
//
// A sequence of segments, here and elsewhere in this package, ascends in
// relevance, as the input of the published Graph-KV does: the last is the most
// relevant. In a neighbourhood that is the center itself.
type Neighbourhood struct {
	Center   int
	Radius   int
	Segments []int // a sequence; not to be modified
}

// HopNeighbourhoods returns the neighbourhoods of a center that hold every segment
// at most k, k−1, …, 0 steps away in direction d, from far to near. Within one,
// segments stand from far to near, and in ascending order at the same distance.
// Radii beyond the farthest segment that can be reached are left out: they would
// repeat the first neighbourhood. The time is linear in what is reached, but for
// one bit per segment of the graph.
func (g *Graph) HopNeighbourhoods(center, k int, d Direction) ([]Neighbourhood, error) {
	row, err := g.checkHops(center, k, d)
	if err != nil {
		return nil, err
	}
	met := make([]uint64, (g.Len()+63)/64)
	met[center/64] |= 1 << (center % 64)
	order := []int{center}
	rings := []int{0} // where each distance starts in order
	for from := 0; len(rings) <= k; {
		to := len(order)
		for _, i := range order[from:to] {
			for _, j := range row(i) {
				if bit := uint64(1) << (j % 64); met[j/64]&bit == 0 {
					met[j/64] |= bit
					order = append(order, int(j))
				}
			}
		}
		if len(order) == to {
			break
		}
		slices.Sort(order[to:])
		rings = append(rings, to)
		from = to
	}
	// The neighbourhoods are nested, so they share one sequence: each starts at its
	// outermost ring.
	sequence := make([]int, 0, len(order))
	out := make([]Neighbourhood, len(rings))
	for i := range rings {
		radius := len(rings) - 1 - i
		end := len(order)
		if radius+1 < len(rings) {
			end = rings[radius+1]
		}
		out[i] = Neighbourhood{Center: center, Radius: radius, Segments: sequence[len(sequence):cap(sequence)]}
		sequence = append(sequence, order[rings[radius]:end]...)
	}
	return out, nil
}

// WalkOptions say how [Graph.WalkNeighbourhoods] samples.
type WalkOptions struct {
	Length    int // steps of the longest walks; m in the paper
	Walks     int // walks of one neighbourhood, at least 1; M in the paper
	Repeats   int // neighbourhoods of each length, at least 1; s in the paper
	Direction Direction
	Seed      uint64
}

// maxWalkSteps bounds what the options of a walk can ask for.
const maxWalkSteps = 1 << 30

func (o WalkOptions) check() error {
	switch {
	case o.Length < 0:
		return fmt.Errorf("negative length %d", o.Length)
	case o.Walks < 1:
		return fmt.Errorf("%d walks, want at least 1", o.Walks)
	case o.Repeats < 1:
		return fmt.Errorf("%d repeats, want at least 1", o.Repeats)
	}
	steps := uint64(1)
	for _, n := range []int{o.Length, o.Length, o.Walks, o.Repeats} {
		hi, lo := bits.Mul64(steps, uint64(max(n, 1)))
		if hi != 0 || lo > maxWalkSteps {
			return fmt.Errorf("%w: length %d, %d walks, %d repeats: more than %d steps", ErrTooLarge, o.Length, o.Walks, o.Repeats, maxWalkSteps)
		}
		steps = lo
	}
	return nil
}

// WalkNeighbourhoods returns the neighbourhood tokens of Graph Mamba (Behrouz and
// Hashemi 2024, section 4): for every length m = Length, …, 1 and every repeat, the
// segments that Walks random walks of m steps from the center have met, and at last
// the center alone. The order is the paper's: from far to near, so that what comes
// later has read what is farther. Radius is the length of the walks.
//
// A step goes to any neighbour in the given direction with equal probability; a
// walk without one ends. Within a neighbourhood segments stand in the order of the
// number of walks that met them, the most often met last; among equals those met
// after more steps come first, then the larger index. The same options and center give the same neighbourhoods,
// whatever is sampled before.
func (g *Graph) WalkNeighbourhoods(center int, o WalkOptions) ([]Neighbourhood, error) {
	if err := g.checkIndex(center); err != nil {
		return nil, err
	}
	row, err := g.rows(o.Direction)
	if err == nil {
		err = o.check()
	}
	if err != nil {
		return nil, fmt.Errorf("graph: walks from %s: %w", quote(g.ID(center)), err)
	}
	out := make([]Neighbourhood, 0, o.Length*o.Repeats+1)
	w := walker{row: row, rng: rand.NewPCG(o.Seed, uint64(center)), met: make(map[int]meeting)}
	for m := o.Length; m > 0; m-- {
		for range o.Repeats {
			out = append(out, Neighbourhood{Center: center, Radius: m, Segments: w.neighbourhood(center, m, o.Walks)})
		}
	}
	return append(out, Neighbourhood{Center: center, Segments: []int{center}}), nil
}

type walker struct {
	row func(int) []uint32
	rng *rand.PCG
	met map[int]meeting
}

// meeting says how a neighbourhood's walks met a segment.
type meeting struct {
	walks int // how many did
	last  int // the last that did, from 1
	steps int // fewest of any of them
}

func (w *walker) neighbourhood(center, length, walks int) []int {
	clear(w.met)
	w.met[center] = meeting{walks: walks + 1} // it comes last, even if others are met by every walk
	for walk := 1; walk <= walks; walk++ {
		at := center
		for step := 1; step <= length; step++ {
			row := w.row(at)
			if len(row) == 0 {
				break
			}
			// The high half of the product is uniform but for 2⁻³², and unlike the
			// reduction of math/rand it is fixed here.
			k, _ := bits.Mul64(w.rng.Uint64(), uint64(len(row)))
			at = int(row[k])
			m := w.met[at]
			if at == center || m.last == walk {
				continue
			}
			if m.walks == 0 || step < m.steps {
				m.steps = step
			}
			m.walks, m.last = m.walks+1, walk
			w.met[at] = m
		}
	}
	out := make([]int, 0, len(w.met))
	for i := range w.met {
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b int) int {
		x, y := w.met[a], w.met[b]
		return cmp.Or(cmp.Compare(x.walks, y.walks), cmp.Compare(y.steps, x.steps), cmp.Compare(b, a))
	})
	return out
}

// Sequence joins neighbourhoods into one sequence in which every segment stands
// once, where it is met last: in the neighbourhood nearest to the center.
func Sequence(neighbourhoods []Neighbourhood) []int {
	met := make(map[int]bool)
	var out []int
	for _, n := range slices.Backward(neighbourhoods) {
		for _, i := range slices.Backward(n.Segments) {
			if !met[i] {
				met[i] = true
				out = append(out, i)
			}
		}
	}
	slices.Reverse(out)
	return out
}
