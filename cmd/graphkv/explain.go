// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/draw"
)

// explain answers as ask does and looks at how.
type explain struct {
	ask
	nodes  []string
	svg    string
	top    int
	orders int
}

func newExplain() *cobra.Command {
	x := &explain{}
	cmd := &cobra.Command{
		Use:   "explain [question]",
		Short: "Show what the answer and every target have read",
		Long: `Answer a question, over the same inputs as "graphkv ask", and show where attention went:
how much of it every target, the question and the answer gave to each of their sources, on
average, in the lower, middle and upper layers, and in the head that gave most. A second
table shows how different the tokens of each of them still are, layer by layer, 0 being
all the same.

Attention is not importance: a model that has nothing to look for looks at the first token
of a text, and every passage that was encoded alone has one.

With --svg, draw the graph, edges as wide as the attention they got, and the block mask:
into one picture if the name ends in .svg, otherwise as graph.svg and mask.svg into a
folder. With --permutations, also answer with the passages in other orders and show how
much that changes.`,
		Example: `  graphkv explain
  graphkv explain --strategy ego --svg ego.svg
  graphkv explain --request request.json --node kv1.paper --json
  graphkv explain --strategy block --permutations 20 --seed 1`,
		RunE: x.run,
	}
	x.input.flags(cmd)
	x.tiers.flags(cmd)
	x.memoryFlags(cmd)
	f := cmd.Flags()
	f.BoolVar(&x.json, "json", false, "print one JSON object, with every layer and head")
	f.StringVar(&x.svg, "svg", "", "draw the graph and the mask into this .svg file or folder")
	f.StringArrayVar(&x.nodes, "node", nil, "explain this node, besides the query and the answer, instead of all that have sources; may be repeated")
	f.IntVar(&x.top, "top", 8, "sources to list per reader, those that got most; 0 lists all")
	f.IntVar(&x.orders, "permutations", 0, "answer with the passages in so many orders, the given one included")
	f.Uint64Var(&x.sampling.Seed, "seed", 0, "seed of the orders")
	cmd.MarkFlagsMutuallyExclusive("permutations", "plan")
	return cmd
}

func (x *explain) run(cmd *cobra.Command, args []string) error {
	if x.top < 0 {
		return fmt.Errorf("--top is %d, want at least 0", x.top)
	}
	r, p, d, err := x.load(args)
	if err != nil {
		return err
	}
	if x.svg != "" { // before anything is computed for it
		if err := os.MkdirAll(x.svgFolder(), 0o777); err != nil {
			return err
		}
	}
	e, err := x.open(cmd)
	if err != nil {
		return err
	}
	defer x.close(cmd, e)
	if d != nil {
		if r, err = x.request(d, e.Metadata(), e.Tokenizer()); err != nil {
			return err
		}
	}
	if r != nil {
		if p, err = e.Compile(r); err != nil {
			return err
		}
	}
	var options []graphkv.ExplainOption
	if cmd.Flags().Changed("node") {
		options = append(options, graphkv.ExplainNodes(x.nodes...))
	}
	explanation, err := e.Explain(cmd.Context(), p, options...)
	if err != nil {
		return err
	}
	var order *graphkv.OrderSensitivity
	if x.orders != 0 {
		if order, err = e.OrderSensitivity(cmd.Context(), r, graphkv.OrderOptions{Permutations: x.orders, Seed: x.sampling.Seed}); err != nil {
			return err
		}
	}
	if x.svg != "" {
		if err := x.draw(cmd.Context(), e, p, explanation); err != nil {
			return err
		}
	}
	if x.json {
		return printJSON(cmd.OutOrStdout(), struct {
			*graphkv.Explanation
			Order *graphkv.OrderSensitivity `json:"order,omitempty"`
		}{explanation, order})
	}
	return printExplanation(cmd.OutOrStdout(), explanation, order, x.top)
}

// oneFile reports whether --svg names a file for both pictures.
func (x *explain) oneFile() bool { return filepath.Ext(x.svg) == ".svg" }

func (x *explain) svgFolder() string {
	if x.oneFile() {
		return filepath.Dir(x.svg)
	}
	return x.svg
}

// draw writes the pictures.
func (x *explain) draw(ctx context.Context, e *graphkv.Engine, p *graphkv.Plan, explanation *graphkv.Explanation) error {
	low, err := p.Lower(nil)
	if errors.Is(err, graphkv.ErrRepairUnknown) {
		var repaired [][]int
		if repaired, err = e.Repaired(ctx, p); err == nil {
			low, err = p.Lower(repaired)
		}
	}
	if err != nil {
		return err
	}
	m, err := low.Mask(draw.BlockSize(low.Layout().Tokens()))
	if err != nil {
		return err
	}
	graph, block := p.Graph(explanation), &draw.Mask{Title: "Attention mask", Mask: m, Label: low.ID}
	if x.oneFile() {
		return writeSVG(x.svg, graph, block)
	}
	return errors.Join(
		writeSVG(filepath.Join(x.svg, "graph.svg"), graph),
		writeSVG(filepath.Join(x.svg, "mask.svg"), block))
}

func writeSVG(path string, figures ...draw.Figure) error {
	data, err := draw.SVG(figures...)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o666)
}
