// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/model"
	"github.com/graphkv/graphkv/model/tokenizer"
)

func newPlan() *cobra.Command {
	in := &input{}
	var asJSON bool
	var block int
	cmd := &cobra.Command{
		Use:   "plan [question]",
		Short: "Show what a request will compute, without computing it",
		Long: `Show a request's nodes, edges, positions, mask and cost. Where the request holds
tokens no model is needed; text needs the model's tokenizer, never its weights. With
--json, print the plan in the form that "graphkv ask --plan" reads.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, config, err := in.compile(args)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), p)
			}
			return printPlan(cmd.OutOrStdout(), p, config, block)
		},
	}
	in.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the plan file")
	cmd.Flags().IntVar(&block, "block", 0, "tokens per side of a block in the picture of the mask (default: to fit)")
	return cmd
}

// compile makes the plan; config is nil when no model was needed.
func (in *input) compile(args []string) (*graphkv.Plan, *model.Config, error) {
	r, p, d, err := in.load(args)
	if err != nil || p != nil {
		return p, nil, err
	}
	if r != nil && onlyTokens(r) && len(r.Biases) == 0 && !in.cmd.Flags().Changed("model") {
		p, err := graphkv.Compile(r, graphkv.CompileOptions{})
		return p, nil, err
	}
	f, _, err := openModel(in.cmd, in.model)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	c, err := model.ReadConfig(f)
	if err != nil {
		return nil, nil, err
	}
	t, err := tokenizer.FromGGUF(f)
	if err != nil {
		return nil, nil, err
	}
	if d != nil {
		if r, err = in.request(d, f, t); err != nil {
			return nil, nil, err
		}
	}
	o := graphkv.CompileOptions{Tokenizer: t, Context: c.Context, Heads: c.Heads}
	if in.longContext {
		o.Context = 0
	}
	p, err = graphkv.Compile(r, o)
	return p, &c, err
}

// pictureBlocks is how many blocks wide the picture of a mask may get by itself.
const pictureBlocks = 64

func printPlan(w io.Writer, p *graphkv.Plan, c *model.Config, block int) error {
	l := p.Layout()
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "node\ttokens\tpositions\tsees (at)")
	for i := range l.Len() {
		n := l.Node(i)
		var sees []string
		for _, s := range l.Sees(i) {
			at := fmt.Sprint(s.Base)
			if s.Ranked {
				at += ", ranked"
			}
			sees = append(sees, fmt.Sprintf("%s (%s)", p.ID(int(s.Node)), at))
		}
		if lo, hi := l.Group(i); i == lo && hi-lo > 1 {
			sees = append(sees, fmt.Sprintf("encoded together with the next %d", hi-lo-1))
		}
		if r := n.Repair; !r.IsZero() {
			which := "first"
			if r.Fraction > 0 {
				which = "most deviating"
			}
			sees = append(sees, fmt.Sprintf("repairs the %s %d of %s", which, l.Encodes(i), p.ID(r.Of)))
		}
		fmt.Fprintf(t, "%s\t%d\t%d…%d\t%s\n", p.ID(i), n.Len, n.Base, n.Base+n.Len-1, strings.Join(sees, ", "))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	atMost := ""
	lowered, err := p.Lower(nil)
	switch {
	case errors.Is(err, graphkv.ErrRepairUnknown):
		atMost = "at most "
		fmt.Fprintf(w, "\nno mask: %s\n\n", trimName(err.Error()))
	case err != nil:
		return err
	default:
		if err := printMask(w, lowered, block); err != nil {
			return err
		}
	}
	cost := p.Cost()
	fmt.Fprintf(w, "%d nodes, %d edges, %d tokens to encode when nothing is cached, %d when all passages are\n",
		cost.Nodes, cost.Edges, cost.Tokens, cost.QueryTokens)
	fmt.Fprintf(w, "%s%d attention pairs per layer and head, %.0f%% of a causal text of as many tokens\n",
		atMost, cost.Pairs, 100*float64(cost.Pairs)/float64(cost.CausalPairs))
	if c != nil {
		kv, err := c.KVShape().Bytes(l.Tokens())
		if err != nil {
			return err
		}
		linear := 2 * float64(c.Parameters()-int64(c.Vocab*c.Hidden)) * float64(cost.Tokens)
		attention := 4 * float64(c.HeadDim*c.Heads*c.Layers) * float64(cost.Pairs)
		fmt.Fprintf(w, "%s: %.1f GFLOP in linear layers, %.1f in attention, %.1f MiB of KV\n",
			c.Name, linear/1e9, attention/1e9, float64(kv)/(1<<20))
	}
	return nil
}

// printMask draws the mask of a plan without repairs.
func printMask(w io.Writer, p *graphkv.Plan, block int) error {
	if block == 0 {
		for block = 1; block*pictureBlocks < p.Layout().Tokens(); block *= 2 {
		}
	}
	m, err := p.Mask(block)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "\nmask, %d tokens a block (# full, + partial, . empty)\n%s\n", block, m.Picture(2*pictureBlocks, p.ID))
	return err
}
