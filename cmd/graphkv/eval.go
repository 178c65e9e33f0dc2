// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/eval"
	"github.com/graphkv/graphkv/model/gguf"
)

type evaluation struct {
	model, dataFormat, strategies, out string
	orders, maxTokens, limit, timings  int
	concurrency                        int
	seed                               uint64
	format                             format
	longContext                        bool
}

func newEval() *cobra.Command {
	v := &evaluation{}
	cmd := &cobra.Command{
		Use:   "eval DATA",
		Short: "Measure how well and how soon presets answer",
		Long: `Ask the questions of a data set under several presets, each in several orders of its
documents, and print scores with intervals, how much the order matters, and the time to
the first token.

DATA is in a format of the published Graph-KV data: JSON Lines of {"question", "answers",
"documents": [{"title", "text", "score"}]} (rag; with "candidates", "kind", "hops", "orders" and
"edges" if there are any), MultiHop-RAG's array (multihop), MoreHopQA (morehop), or the
folder of Arxiv-QA, or a file of its text_data (arxiv). Documents stand in ascending order of score.

A strategy may have parameters, by their names in a request: dag:rounds=2:positions=sequential,
cacheblend:repair.fraction=0.3. Without, graphkv-topk has top_k=3 and dag rounds=1. Differences
are from the first strategy. With --out, every answer is kept as a line of results.jsonl as soon as it is
there; the same command goes on where one has ended, and may add strategies, orders and
timings. The tables, as JSON and Markdown, and plots stand next to it.`,
		Example: `  graphkv eval eval/testdata/qa.jsonl --strategy sequential,block,graphkv
  graphkv eval eval/testdata/qa.jsonl --out results --concurrency 8
  graphkv eval nq_eval/dataset --limit 500 --strategy block,graphkv,graphkv-topk:top_k=1 --max-tokens 256`,
		Args: cobra.ExactArgs(1),
		RunE: v.run,
	}
	f := cmd.Flags()
	f.StringVarP(&v.model, "model", "m", defaultModel, "built-in model name, hf:owner/repo/file.gguf, or a GGUF file")
	f.StringVarP(&v.strategies, "strategy", "s", "all", "comma-separated presets, or all: "+strategyNames())
	f.StringVar(&v.dataFormat, "format", "", "rag, multihop, morehop or arxiv (default: told by the data)")
	f.StringVarP(&v.out, "out", "o", "", "folder for results.jsonl, summary.json, summary.md and plots")
	f.IntVar(&v.orders, "orders", 3, "orders of the documents to ask in besides the data's own")
	f.IntVar(&v.maxTokens, "max-tokens", 64, "longest answer in tokens")
	f.IntVar(&v.limit, "limit", 0, "ask the first questions only; 0 all")
	f.IntVar(&v.timings, "timings", 10, "questions to take the time to the first token of")
	f.IntVar(&v.concurrency, "concurrency", 1, "questions to ask at a time; their times to the first token are taken one by one in any case")
	f.Uint64Var(&v.seed, "seed", 1, "seed of random orders and of resampling")
	f.Var(&v.format, "kv-format", "numbers of keys and values: "+formatNames())
	f.BoolVar(&v.longContext, "long-context", false, "allow positions past those the model was trained on")
	return cmd
}

func (v *evaluation) run(cmd *cobra.Command, args []string) (err error) {
	for _, n := range []struct {
		name        string
		value, from int
	}{{"orders", v.orders, 0}, {"max-tokens", v.maxTokens, 1}, {"limit", v.limit, 0}, {"timings", v.timings, 0}, {"concurrency", v.concurrency, 1}} {
		if n.value < n.from {
			return fmt.Errorf("--%s is %d, want at least %d", n.name, n.value, n.from)
		}
	}
	variants, err := eval.ParseVariants(v.strategies)
	if err != nil {
		return err
	}
	data, err := eval.Read(args[0], eval.Format(v.dataFormat))
	if err != nil {
		return err
	}
	if v.limit > 0 {
		data.Items = data.Items[:min(v.limit, len(data.Items))]
	}
	path, err := fetchModel(cmd.Context(), cmd.ErrOrStderr(), v.model)
	if err != nil {
		return err
	}
	e, err := v.open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	r := &eval.Runner{
		Engine: e, Data: data, Variants: variants,
		Orders: v.orders, MaxTokens: v.maxTokens, Seed: v.seed, Concurrency: v.concurrency,
	}
	if r.Frame, err = v.frame(cmd, e); err != nil {
		return err
	}
	if err := v.leaveOut(cmd, r); err != nil {
		return err
	}
	header := r.Header(filepath.Base(v.model), v.format.Format)
	log := eval.NewLog()
	if v.out != "" {
		if err := os.MkdirAll(v.out, 0o777); err != nil {
			return err
		}
		if log, err = eval.OpenLog(filepath.Join(v.out, "results.jsonl"), header); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, log.Close()) }()
	}
	if err := v.ask(cmd, r, log, path); err != nil {
		return err
	}
	s := eval.Summarise(data, r.Variants, log, v.orders, v.seed)
	s.Model = header.Model
	if v.out != "" {
		if err := v.write(s); err != nil {
			return err
		}
	}
	return s.Write(cmd.OutOrStdout(), false)
}

func (v *evaluation) open(path string) (*graphkv.Engine, error) {
	options := []graphkv.Option{graphkv.WithKVFormat(v.format.Format)}
	if v.longContext {
		options = append(options, graphkv.WithLongContext())
	}
	return graphkv.Open(path, options...)
}

// frame reads the model's chat template. A model without one is asked in plain text.
func (v *evaluation) frame(cmd *cobra.Command, e *graphkv.Engine) (eval.Frame, error) {
	words, err := newVocabulary(e.Metadata(), e.Tokenizer())
	if errors.Is(err, gguf.ErrMissing) {
		fmt.Fprintln(cmd.ErrOrStderr(), "the model has no chat template; it is asked in plain text")
		return eval.Frame{}, nil
	}
	if err != nil {
		return eval.Frame{}, err
	}
	before, after, err := words.chat.Wrap("")
	if err != nil {
		return eval.Frame{}, err
	}
	return eval.Frame{Before: words.encode(before), After: words.encode(after)}, nil
}

// leaveOut drops presets that the data cannot be put under, if they were not named.
func (v *evaluation) leaveOut(cmd *cobra.Command, r *eval.Runner) error {
	failed := r.Check()
	for label, err := range failed {
		if v.strategies != "all" {
			return fmt.Errorf("strategy %s: %w", label, err)
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: left out: %s\n", label, trimName(err.Error()))
	}
	r.Variants = slices.DeleteFunc(r.Variants, func(x eval.Variant) bool { return failed[x.Label] != nil })
	return nil
}

// ask runs what the log does not have. What it has by the time of an error stays.
func (v *evaluation) ask(cmd *cobra.Command, r *eval.Runner, log *eval.Log, model string) error {
	show := func(what string, run func(context.Context) error) error {
		var p *progress
		r.Progress = func(done, total int) {
			if p == nil {
				p = newProgress(cmd.ErrOrStderr(), what, int64(total))
				p.measureFrom(int64(done - 1))
			}
			p.update(int64(done), fmt.Sprintf("%d of %d", done, total))
		}
		err := run(cmd.Context())
		if p != nil {
			p.end()
		}
		return err
	}
	err := show("answers", func(ctx context.Context) error { return r.Answer(ctx, log) })
	if err == nil && v.timings > 0 {
		err = show("timings", func(ctx context.Context) error {
			return r.Time(ctx, log, v.timings, func() (*graphkv.Engine, error) { return v.open(model) })
		})
	}
	if err != nil && v.out != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "%d answers and timings are kept in %s; the same command goes on from there\n", len(log.Records()), v.out)
	}
	return err
}

// write leaves the summary and its pictures in the folder.
func (v *evaluation) write(s *eval.Summary) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(v.out, "summary.json"), append(data, '\n'), 0o666); err != nil {
		return err
	}
	var tables strings.Builder
	if err := s.Write(&tables, true); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(v.out, "summary.md"), []byte(tables.String()), 0o666); err != nil {
		return err
	}
	_, err = s.Plot(v.out)
	return err
}
