// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/mask/exchange"
	"github.com/graphkv/graphkv/model/sample"
)

type ask struct {
	input
	tiers
	noDisk     bool
	from       string // where encoded passages may come from besides memory
	compare    string
	json       bool
	logits     string
	sampling   sample.Params
	cacheBytes int64
}

func newAsk() *cobra.Command {
	a := &ask{}
	cmd := &cobra.Command{
		Use:   "ask [question]",
		Short: "Answer a question over passages",
		Long: `Answer a question over passages: files (--file), a JSON request (--request), a plan
(--plan), or the built-in demo when none is given. The default model is fetched on
first use. The answer streams to standard output, a table of timings follows on
standard error.

Encoded passages are kept in a folder, where later runs find them (see "graphkv cache"),
and with --redis on a server as well, which machines share. If either fails, the answer
comes all the same, and what failed is said after it.`,
		Example: `  graphkv ask
  graphkv ask --strategy ego
  graphkv ask --compare block,ego,sequential
  graphkv ask -f paper.txt -f notes.txt "What changed?"
  graphkv ask --request request.json --json`,
		RunE: a.run,
	}
	a.input.flags(cmd)
	a.tiers.flags(cmd)
	a.memoryFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&a.compare, "compare", "", "comma-separated presets to run one after the other, each on an empty cache; or all")
	f.BoolVar(&a.json, "json", false, "print one JSON object instead of text")
	f.StringVar(&a.logits, "logits", "", "write the logits at the query's last token to this .npy file")
	f.IntVar(&a.sampling.TopK, "sample-top-k", 0, "sample from the k likeliest tokens only; 0 from all")
	f.Float64Var(&a.sampling.TopP, "top-p", 0, "sample from the likeliest tokens that hold this probability together; 0 from all")
	f.Float64Var(&a.sampling.MinP, "min-p", 0, "leave out tokens below this fraction of the likeliest one's probability")
	f.Uint64Var(&a.sampling.Seed, "seed", 0, "seed of the sampler")
	cmd.MarkFlagsMutuallyExclusive("compare", "plan")
	cmd.MarkFlagsMutuallyExclusive("compare", "strategy")
	cmd.MarkFlagsMutuallyExclusive("compare", "logits")
	cmd.MarkFlagsMutuallyExclusive("compare", "redis")
	cmd.MarkFlagsMutuallyExclusive("compare", "cache-dir")
	cmd.MarkFlagsMutuallyExclusive("compare", "cache-budget")
	return cmd
}

// memoryFlags says where encoded passages are kept besides the tiers.
func (a *ask) memoryFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&a.noDisk, "no-disk", false, "neither look for encoded passages in the folder nor keep them there")
	f.Int64Var(&a.cacheBytes, "cache-bytes", 2<<30, "memory for cached passages")
	cmd.MarkFlagsMutuallyExclusive("no-disk", "cache-dir")
	cmd.MarkFlagsMutuallyExclusive("no-disk", "cache-budget")
}

// close ends the engine; the answer is there, and what is lost will be encoded again.
func (a *ask) close(cmd *cobra.Command, e *graphkv.Engine) {
	if err := e.Close(); err != nil {
		a.notes.add("close", err.Error())
	}
	a.notes.print(cmd.ErrOrStderr())
}

func (a *ask) run(cmd *cobra.Command, args []string) (err error) {
	r, p, d, err := a.load(args)
	if err != nil {
		return err
	}
	var logits *os.File
	if a.logits != "" {
		if logits, err = os.Create(a.logits); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, logits.Close()) }()
	}
	e, err := a.open(cmd)
	if err != nil {
		return err
	}
	defer a.close(cmd, e)
	if d != nil {
		if r, err = a.request(d, e.Metadata(), e.Tokenizer()); err != nil {
			return err
		}
	}
	if a.compare != "" {
		return a.compareAll(cmd, e, r)
	}
	temperature := a.temperature
	if r != nil {
		temperature = r.Temperature
		if p, err = e.Compile(r); err != nil {
			return err
		}
	}
	result, err := a.answer(cmd, e, p, temperature)
	if err != nil {
		return err
	}
	if logits != nil {
		if err := exchange.WriteFloats(logits, result.Logits); err != nil {
			return err
		}
	}
	if a.json {
		return printJSON(cmd.OutOrStdout(), result)
	}
	printTimings(cmd.ErrOrStderr(), a.from, []answered{{Strategy: p.Strategy(), Result: result}})
	return nil
}

func (a *ask) open(cmd *cobra.Command) (*graphkv.Engine, error) {
	path, err := fetchModel(cmd.Context(), cmd.ErrOrStderr(), a.model)
	if err != nil {
		return nil, err
	}
	options := []graphkv.Option{graphkv.WithCacheBytes(a.cacheBytes), graphkv.WithKVFormat(a.format.Format), graphkv.WithEvents(a.notes.listener())}
	if a.longContext {
		options = append(options, graphkv.WithLongContext())
	}
	if a.compare != "" { // each preset pays for itself
		return graphkv.Open(path, append(options, graphkv.WithCacheBytes(0))...)
	}
	lower, err := a.lower(cmd)
	if err != nil {
		return nil, err
	}
	return graphkv.Open(path, append(options, lower...)...)
}

// redisTimeout is what a server that does not answer costs a request.
const redisTimeout = time.Second

// lower opens the tiers below memory. A folder that nobody has asked for is no reason not to answer.
func (a *ask) lower(cmd *cobra.Command) ([]graphkv.Option, error) {
	var options []graphkv.Option
	if a.redis != "" {
		s, err := a.connect(cmd.Context())
		if err != nil {
			return nil, err
		}
		options = append(options, graphkv.WithTier(kvcache.Tier{Store: s, Timeout: redisTimeout}))
		a.from = "Redis"
	}
	if a.noDisk {
		return options, nil
	}
	s, err := a.openToWrite(a.notes.listener())
	if err != nil {
		if cmd.Flags().Changed("cache-dir") || cmd.Flags().Changed("cache-budget") {
			return nil, err
		}
		a.notes.add("folder", err.Error())
		return options, nil
	}
	a.from = "disk"
	if a.redis != "" {
		a.from = "disk or Redis"
	}
	return slices.Insert(options, 0, graphkv.WithTier(kvcache.Tier{Store: s})), nil
}

// answer runs one plan and streams its text unless JSON was asked for.
func (a *ask) answer(cmd *cobra.Command, e *graphkv.Engine, p *graphkv.Plan, temperature float64) (*graphkv.Result, error) {
	s := a.sampling
	s.Temperature = temperature
	options := []graphkv.GenerateOption{graphkv.WithSampling(s)}
	if a.logits != "" {
		options = append(options, graphkv.WithLogits())
	}
	out := cmd.OutOrStdout()
	if !a.json {
		options = append(options, graphkv.Stream(func(text string) error {
			_, err := fmt.Fprint(out, text)
			return err
		}))
	}
	result, err := e.Generate(cmd.Context(), p, options...)
	if err != nil {
		return nil, err
	}
	if !a.json {
		fmt.Fprintln(out)
	}
	return result, nil
}

// compareAll answers the same request under several presets. With "all", presets
// that the request cannot be put under are listed as such.
func (a *ask) compareAll(cmd *cobra.Command, e *graphkv.Engine, r *graphkv.Request) error {
	strategies := graphkv.Strategies()
	if a.compare != "all" {
		strategies = nil
		for _, name := range strings.Split(a.compare, ",") {
			strategies = append(strategies, graphkv.Strategy(strings.TrimSpace(name)))
		}
	}
	all := make([]answered, len(strategies))
	plans := make([]*graphkv.Plan, len(strategies))
	for i, s := range strategies {
		if s == "" {
			return fmt.Errorf("--compare %q has an empty name", a.compare)
		}
		q := *r
		q.Strategy = s
		if s == graphkv.GraphKVTopK && q.TopK == 0 {
			q.TopK = 3
		}
		all[i].Strategy = s
		var err error
		if plans[i], err = e.Compile(&q); err != nil {
			if a.compare != "all" {
				return err
			}
			all[i].Error = err.Error()
		}
	}
	for i, p := range plans {
		if !a.json {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: ", all[i].Strategy)
		}
		if p == nil {
			if !a.json {
				fmt.Fprintf(cmd.OutOrStdout(), "left out: %s\n", trimName(all[i].Error))
			}
			continue
		}
		var err error
		if all[i].Result, err = a.answer(cmd, e, p, r.Temperature); err != nil {
			return err
		}
	}
	if a.json {
		return printJSON(cmd.OutOrStdout(), map[string][]answered{"results": all})
	}
	printTimings(cmd.ErrOrStderr(), "", all)
	return nil
}

// answered is one preset's result, or why there is none.
type answered struct {
	Strategy graphkv.Strategy `json:"strategy"`
	Error    string           `json:"error,omitempty"`
	*graphkv.Result
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
