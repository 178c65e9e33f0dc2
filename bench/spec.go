// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"slices"

	"github.com/graphkv/graphkv/attention"
)

// Kinds of cases.
const (
	KindAttention = "attention" // a layout in a shape
	KindGEMM      = "gemm"      // C [rows × n] = A [rows × k]·Wᵀ
	KindPrefill   = "prefill"   // one text of so many tokens, logits of the last
	KindDecode    = "decode"    // greedy tokens one by one after so many
	KindTTFT      = "ttft"      // passages and a question, until its first token is known
	KindPlan      = "plan"      // segments with so many sources each, planned and lowered to blocks
	KindGraph     = "graph"     // sources, targets that read some of them, and a question that reads all
)

// Case is one thing to measure.
type Case struct {
	ID      string `json:"id"`
	Kind    string `json:"kind"`
	Layout  string `json:"layout,omitempty"`  // attention
	Shape   string `json:"shape,omitempty"`   // attention
	Format  uint8  `json:"format,omitempty"`  // attention: how keys and values are stored
	Size    []int  `json:"size,omitempty"`    // gemm: rows, n, k; plan: segments, edges of each, block size
	Tokens  int    `json:"tokens,omitempty"`  // prefill, decode
	Variant string `json:"variant,omitempty"` // ttft, graph: what is cached, and in which order it is asked for
	// Work over the seconds that a contender reports is its rate in Unit. 0 means that
	// the time itself counts.
	Work float64 `json:"work"`
	Unit string  `json:"unit"`
	// Alone marks cases that are about this library only.
	Alone bool `json:"alone,omitempty"`
	// CheckRows are the output rows that contenders compare before they are timed.
	CheckRows []int `json:"check_rows,omitempty"`
}

// Rate turns a contender's time into the case's unit.
func (c Case) Rate(seconds float64) float64 {
	if c.Work == 0 {
		return seconds
	}
	return c.Work / seconds
}

// Variants of KindTTFT and KindGraph.
const (
	Cold      = "cold"       // nothing is cached
	SameOrder = "same-order" // the passages are cached and come in the order in which they were
	NewOrder  = "new-order"  // they are cached and come in another order
	Resident  = "resident"   // sources and targets are cached: only the question is computed
)

// Passages are the sizes of the retrieval cases.
type Passages struct {
	Count    int `json:"count"`
	Tokens   int `json:"tokens"`   // each
	Question int `json:"question"` // tokens
	Degree   int `json:"degree"`   // graph: sources that each target reads
	// Targets lists for every target of the graph the sources that it reads.
	Targets [][]int `json:"targets"`
}

// Spec is everything that contenders must agree on.
type Spec struct {
	Machine  Machine          `json:"machine"`
	Model    string           `json:"model"` // a GGUF file; empty: no model cases
	Vocab    int              `json:"vocab"` // token ids are below it
	Cache    string           `json:"cache"` // a folder for what contenders derive from the model
	RoPEBase float64          `json:"rope_base"`
	Shapes   map[string]Shape `json:"shapes"`
	Layouts  []Layout         `json:"layouts"`
	Passages Passages         `json:"passages"`
	// Decode is the number of tokens that KindDecode generates.
	Decode int    `json:"decode"`
	Cases  []Case `json:"cases"`
}

// NewSpec returns all cases. Lengths are divided by scale; 1 is the size that counts.
func NewSpec(scale int) *Spec {
	n := func(tokens int) int { return max(2, tokens/scale) }
	s := &Spec{
		Machine: ThisMachine(), RoPEBase: RoPEBase, Shapes: Shapes, Layouts: Layouts(scale),
		Passages: Passages{Count: 10, Tokens: n(200), Question: n(30), Degree: 3},
		Decode:   n(32),
	}
	for t := range s.Passages.Count {
		var sources []int
		for i := range s.Passages.Degree {
			sources = append(sources, (t+3*i)%s.Passages.Count)
		}
		slices.Sort(sources)
		s.Passages.Targets = append(s.Passages.Targets, sources)
	}
	for _, l := range s.Layouts {
		for _, shape := range []string{"A", "B"} {
			s.Cases = append(s.Cases, Case{
				ID: "attention/" + l.Name + "/" + shape, Kind: KindAttention, Layout: l.Name, Shape: shape,
				Work: l.FLOP(Shapes[shape]) / 1e9, Unit: "GFLOP/s", CheckRows: l.CheckRows(),
			})
		}
	}
	for f := attention.F32 + 1; f.Valid(); f++ {
		l := s.Layouts[4] // decode
		s.Cases = append(s.Cases, Case{
			ID: fmt.Sprintf("attention/L5/B/%v", f), Kind: KindAttention, Layout: l.Name, Shape: "B", Format: uint8(f),
			Work: l.FLOP(Shapes["B"]) / 1e9, Unit: "GFLOP/s", Alone: true,
		})
	}
	// Eight times L3's segments at the same degree: should cost eight times as much.
	wide := Citations(512, n(128), 4)
	wide.Name = "L3x8"
	s.Layouts = append(s.Layouts, wide)
	s.Cases = append(s.Cases, Case{
		ID: "attention/L3x8/A", Kind: KindAttention, Layout: wide.Name, Shape: "A",
		Work: wide.FLOP(Shapes["A"]) / 1e9, Unit: "GFLOP/s", Alone: true,
	}, Case{
		ID: "plan/10000x4", Kind: KindPlan, Size: []int{10000, 4, 128}, Unit: "s", Alone: true,
	})
	for _, size := range [][]int{{n(512), n(1536), n(576)}, {n(2048), n(2048), n(2048)}} {
		s.Cases = append(s.Cases, Case{
			ID: fmt.Sprintf("gemm/%dx%dx%d", size[0], size[1], size[2]), Kind: KindGEMM, Size: size,
			Work: 2 * float64(size[0]) * float64(size[1]) * float64(size[2]) / 1e9, Unit: "GFLOP/s",
		})
	}
	for _, tokens := range []int{n(512), n(2048)} {
		s.Cases = append(s.Cases, Case{
			ID: fmt.Sprintf("prefill/%d", tokens), Kind: KindPrefill, Tokens: tokens, Work: float64(tokens), Unit: "tokens/s",
		})
	}
	for _, tokens := range []int{n(128), n(2048)} {
		s.Cases = append(s.Cases, Case{
			ID: fmt.Sprintf("decode/%d", tokens), Kind: KindDecode, Tokens: tokens, Work: float64(s.Decode), Unit: "tokens/s",
		})
	}
	for _, c := range []struct{ kind, variant string }{
		{KindTTFT, Cold}, {KindTTFT, SameOrder}, {KindTTFT, NewOrder}, {KindGraph, Cold}, {KindGraph, Resident},
	} {
		s.Cases = append(s.Cases, Case{ID: c.kind + "/" + c.variant, Kind: c.kind, Variant: c.variant, Unit: "s"})
	}
	return s
}

// Case returns the case of that id.
func (s *Spec) Case(id string) (Case, bool) {
	i := slices.IndexFunc(s.Cases, func(c Case) bool { return c.ID == id })
	if i < 0 {
		return Case{}, false
	}
	return s.Cases[i], true
}

func (s *Spec) layout(name string) (Layout, error) {
	i := slices.IndexFunc(s.Layouts, func(l Layout) bool { return l.Name == name })
	if i < 0 {
		return Layout{}, fmt.Errorf("bench: no layout %q", name)
	}
	return s.Layouts[i], nil
}

// Result is one measurement of one contender: a line of JSON.
type Result struct {
	Case    string  `json:"case"`
	Who     string  `json:"who"`
	Threads int     `json:"threads"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	Timing
	// CompileSeconds were spent before the first run and are not part of it.
	CompileSeconds float64 `json:"compile_seconds,omitempty"`
	Note           string  `json:"note,omitempty"`
}
