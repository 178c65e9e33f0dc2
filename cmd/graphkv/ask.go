// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/model/sample"
)

type ask struct {
	input
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
standard error.`,
		Example: `  graphkv ask
  graphkv ask --strategy ego --compare block,ego,sequential
  graphkv ask -f paper.txt -f notes.txt "What changed?"
  graphkv ask --request request.json --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a.question = strings.Join(args, " ")
			return a.run(cmd)
		},
	}
	a.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&a.compare, "compare", "", "comma-separated presets to run one after the other, or all")
	f.BoolVar(&a.json, "json", false, "print one JSON object instead of text")
	f.StringVar(&a.logits, "logits", "", "write the logits at the query's last token to this .npy file")
	f.IntVar(&a.sampling.TopK, "sample-top-k", 0, "sample from the k likeliest tokens only; 0 from all")
	f.Float64Var(&a.sampling.TopP, "top-p", 0, "sample from the likeliest tokens that hold this probability together; 0 from all")
	f.Float64Var(&a.sampling.MinP, "min-p", 0, "leave out tokens below this fraction of the likeliest one's probability")
	f.Uint64Var(&a.sampling.Seed, "seed", 0, "seed of the sampler")
	f.Int64Var(&a.cacheBytes, "cache-bytes", 2<<30, "memory for cached passages")
	cmd.MarkFlagsMutuallyExclusive("compare", "plan")
	cmd.MarkFlagsMutuallyExclusive("compare", "logits")
	return cmd
}

func (a *ask) run(cmd *cobra.Command) error {
	ctx := cmd.Context()
	path, err := fetchModel(ctx, cmd.ErrOrStderr(), a.model)
	if err != nil {
		return err
	}
	options := []graphkv.Option{graphkv.WithCacheBytes(a.cacheBytes)}
	if a.longContext {
		options = append(options, graphkv.WithLongContext())
	}
	e, err := graphkv.Open(path, options...)
	if err != nil {
		return err
	}
	defer e.Close()
	var v *vocabulary
	if a.requestFile == "" && a.planFile == "" {
		if v, err = newVocabulary(e.Metadata()); err != nil {
			return err
		}
	}
	r, p, err := a.read(v)
	if err != nil {
		return err
	}
	if a.compare != "" {
		return a.compareAll(cmd, e, r)
	}
	if p == nil {
		if p, err = e.Compile(r); err != nil {
			return err
		}
	} else {
		p = p.WithMaxTokens(a.answerLength())
	}
	result, err := a.answer(cmd, e, p, r)
	if err != nil {
		return err
	}
	if a.logits != "" {
		if err := writeLogits(a.logits, result.Logits); err != nil {
			return err
		}
	}
	if a.json {
		return printJSON(cmd.OutOrStdout(), result)
	}
	printTimings(cmd.ErrOrStderr(), []answered{{p.Strategy(), result}})
	return nil
}

// answer runs one plan and streams its text unless JSON was asked for.
func (a *ask) answer(cmd *cobra.Command, e *graphkv.Engine, p *graphkv.Plan, r *graphkv.Request) (*graphkv.Result, error) {
	var options []graphkv.GenerateOption
	s := a.sampling
	s.Temperature = a.temperature
	if r != nil {
		s.Temperature = r.Temperature
	}
	options = append(options, graphkv.WithSampling(s))
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

// compareAll answers the same request under several presets.
func (a *ask) compareAll(cmd *cobra.Command, e *graphkv.Engine, r *graphkv.Request) error {
	names := strings.Split(a.compare, ",")
	if a.compare == "all" {
		names = strings.Split(strategyNames(), ", ")
	}
	var all []answered
	for _, name := range names {
		q := *r
		q.Strategy = graphkv.Strategy(strings.TrimSpace(name))
		if q.Strategy == graphkv.GraphKVTopK && q.TopK == 0 {
			q.TopK = 3
		}
		p, err := e.Compile(&q)
		if err != nil {
			return err
		}
		if !a.json {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: ", q.Strategy)
		}
		result, err := a.answer(cmd, e, p, &q)
		if err != nil {
			return err
		}
		all = append(all, answered{q.Strategy, result})
	}
	if len(all) == 0 {
		return errors.New("--compare names no preset")
	}
	if a.json {
		return printJSON(cmd.OutOrStdout(), map[string][]answered{"results": all})
	}
	printTimings(cmd.ErrOrStderr(), all)
	return nil
}

// answered is one preset's result.
type answered struct {
	Strategy graphkv.Strategy `json:"strategy"`
	*graphkv.Result
}

func printJSON(w interface{ Write([]byte) (int, error) }, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
