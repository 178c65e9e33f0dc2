// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

// Explanation says what the nodes of a plan, and its answer, have read. It has a JSON
// form.
type Explanation struct {
	Layers int `json:"layers"`
	Heads  int `json:"heads"` // of queries, per layer
	// Readers are those that were asked for, in encoding order; then the query and, if
	// there is one, the answer.
	Readers []Reader `json:"readers"`
	Answer  *Result  `json:"answer,omitempty"` // what was generated to be explained
}

// Reader is a node, or the answer, as a reader of others.
type Reader struct {
	ID     string `json:"id"`     // the answer's is "answer"
	Node   int    `json:"node"`   // index in the plan; the answer's is Plan.Len()
	Tokens int    `json:"tokens"` // rows of attention that Reads average over
	Reads  []Read `json:"reads"`  // in the plan's order, what it read of itself last
	// Residual says how different the node's tokens still are, from 0 for all the same,
	// before the first layer and after each: ‖X − 1xᵀ‖₁,∞ / ‖X‖₁,∞ of the hidden states X,
	// where x is their mean and ‖X‖₁,∞ = √(‖X‖₁·‖X‖∞), the rank collapse of "Attention is
	// not all you need" (Dong et al., 2021). The answer has none.
	Residual []float64 `json:"residual,omitempty"`
}

// Read is an edge: how much of a reader's attention went to one source. Together a
// reader's masses are 1.
//
// Mass is not importance. A model that has nothing to look for looks at the first token
// of a text, and every segment that was encoded alone has a first token.
type Read struct {
	ID     string      `json:"id"`
	Node   int         `json:"node"`
	Tokens int         `json:"tokens"`          // of the source
	Mass   float64     `json:"mass"`            // mean over layers, heads and the reader's tokens
	Heads  [][]float32 `json:"heads,omitempty"` // the same per layer and head
}

// Within returns the mass in the layers from first up to, but without, end.
func (r *Read) Within(first, end int) float64 {
	sum, n := 0.0, 0
	for _, heads := range r.Heads[first:end] {
		for _, x := range heads {
			sum += float64(x)
		}
		n += len(heads)
	}
	return sum / float64(n)
}

// Top returns the layer and head that read the source most.
func (r *Read) Top() (layer, head int) {
	for l, heads := range r.Heads {
		for h, x := range heads {
			if x > r.Heads[layer][head] {
				layer, head = l, h
			}
		}
	}
	return layer, head
}

// ExplainOption changes what [Engine.Explain] explains. Every [RunOption] is one.
type ExplainOption interface{ explain(*explained) }

type explainOption func(*explained)

func (o explainOption) explain(x *explained) { o(x) }

func (o RunOption) explain(x *explained) { x.run = append(x.run, o) }

type explained struct {
	run       []RunOption
	nodes     []string
	chosen    bool // nodes are those to explain, and not all that have sources
	answer    []int32
	hasAnswer bool
}

// ExplainNodes explains the nodes with these ids, besides the query and the answer,
// instead of all that have sources. Without ids there are no others.
func ExplainNodes(ids ...string) ExplainOption {
	return explainOption(func(x *explained) { x.nodes, x.chosen = ids, true })
}

// ExplainAnswer explains this answer, such as that of an earlier [Engine.Generate],
// instead of one that is generated. An answer of no tokens explains the query alone.
func ExplainAnswer(tokens []int32) ExplainOption {
	return explainOption(func(x *explained) { x.answer, x.hasAnswer = tokens, true })
}
