// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/graphkv/graphkv"
)

// defaultModel is pulled on first use.
const defaultModel = "smollm2-135m-instruct"

// input collects what a question is asked about: a JSON request, a plan file,
// passages in files, or the built-in demo.
type input struct {
	cmd         *cobra.Command
	model       string
	requestFile string
	planFile    string
	files       []string
	question    string

	strategy, positions, center string
	topK, rounds                int
	bidirectional               bool
	visibleRounds               []int
	ape                         graphkv.APEParams
	repairFraction              float64
	repairFirst                 int
	maxTokens                   int
	temperature                 float64
	stop                        []string
	longContext                 bool
}

func (in *input) flags(cmd *cobra.Command) {
	in.cmd = cmd
	f := cmd.Flags()
	f.StringVarP(&in.model, "model", "m", defaultModel, "built-in model name, hf:owner/repo/file.gguf, or a GGUF file")
	f.StringVarP(&in.requestFile, "request", "r", "", "JSON request file (- reads standard input)")
	f.StringVarP(&in.planFile, "plan", "p", "", "plan file, run as it stands (- reads standard input)")
	f.StringArrayVarP(&in.files, "file", "f", nil, "passage file; repeat for each passage")
	f.StringVarP(&in.strategy, "strategy", "s", "", "preset: "+strategyNames()+" (default graphkv)")
	f.IntVar(&in.topK, "top-k", 0, "sources of each segment in graphkv-topk: the last k passages")
	f.IntVar(&in.rounds, "rounds", 0, "rounds of message passing in dag")
	f.IntSliceVar(&in.visibleRounds, "visible-rounds", nil, "rounds of dag that the question sees (default the last)")
	f.Float64Var(&in.ape.Temperature, "ape-temperature", 0, "temperature of the passages in ape (default 0.9)")
	f.Float64Var(&in.ape.Scale, "ape-scale", 0, "scaling factor of the passages in ape (default 0.9)")
	f.BoolVar(&in.ape.SharedPrefix, "ape-shared-prefix", false, "let the passages of ape read the prefix, as published")
	f.Float64Var(&in.repairFraction, "repair-fraction", 0, fmt.Sprintf("part of every passage that cacheblend encodes again (default %v)", graphkv.DefaultRepairFraction))
	f.IntVar(&in.repairFirst, "repair-first", 0, fmt.Sprintf("first tokens of every passage that epic encodes again (default %d)", graphkv.DefaultRepairFirst))
	f.BoolVar(&in.bidirectional, "bidirectional", false, "let the tokens of a passage read those after them too, for models trained as encoders")
	f.StringVar(&in.positions, "positions", "", "layout of dag: shared or sequential (default shared)")
	f.StringVar(&in.center, "center", "", "segment that ego puts in the centre")
	f.IntVar(&in.maxTokens, "max-tokens", 0, fmt.Sprintf("longest answer in tokens (default %d)", graphkv.DefaultMaxTokens))
	f.Float64Var(&in.temperature, "temperature", 0, "sampling temperature; 0 takes the likeliest token")
	f.StringArrayVar(&in.stop, "stop", nil, "end the answer before this text; may be repeated")
	f.BoolVar(&in.longContext, "long-context", false, "allow positions past those the model was trained on")
	cmd.MarkFlagsMutuallyExclusive("request", "plan", "file")
}

func strategyNames() string {
	var names []string
	for _, s := range graphkv.Strategies() {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}

// load reads the files that the flags name, before any model is fetched: exactly one
// of the results is not nil.
func (in *input) load(args []string) (*graphkv.Request, *graphkv.Plan, *documents, error) {
	in.question = strings.Join(args, " ")
	if in.maxTokens < 0 {
		return nil, nil, nil, fmt.Errorf("--max-tokens is %d, want at least 0", in.maxTokens)
	}
	switch {
	case in.planFile != "":
		p, err := in.loadPlan()
		return nil, p, nil, err
	case in.requestFile != "":
		r, err := in.loadRequest()
		return r, nil, nil, err
	}
	d, err := in.documents()
	return nil, nil, d, err
}

func (in *input) loadPlan() (*graphkv.Plan, error) {
	for _, name := range []string{"strategy", "top-k", "rounds", "visible-rounds", "ape-temperature", "ape-scale", "ape-shared-prefix",
		"repair-fraction", "repair-first", "positions", "center"} {
		if in.cmd.Flags().Changed(name) {
			return nil, fmt.Errorf("--%s cannot change a plan file, which says all about the graph", name)
		}
	}
	if in.question != "" {
		return nil, errors.New("the plan holds the question; give no other")
	}
	data, err := in.readFile(in.planFile)
	if err != nil {
		return nil, err
	}
	p, err := graphkv.ParsePlan(data)
	if err != nil {
		return nil, err
	}
	return p.WithMaxTokens(in.answerLength()).WithStop(in.stop...), nil
}

func (in *input) loadRequest() (*graphkv.Request, error) {
	if in.question != "" {
		return nil, errors.New("the request holds the question; give no other")
	}
	data, err := in.readFile(in.requestFile)
	if err != nil {
		return nil, err
	}
	r, err := graphkv.ParseRequest(data)
	if err != nil {
		return nil, err
	}
	in.override(r)
	return r, nil
}

func (in *input) readFile(path string) ([]byte, error) {
	if path == "-" {
		return readAll(in.cmd.Context(), in.cmd.InOrStdin())
	}
	return os.ReadFile(path)
}

// documents returns the passages in the given files, or the demo's.
func (in *input) documents() (*documents, error) {
	if len(in.files) == 0 {
		d := demo()
		if in.question != "" {
			d.Question = in.question
		}
		return d, nil
	}
	if in.question == "" {
		return nil, errors.New("give a question to ask about the files")
	}
	d := &documents{Question: in.question}
	for _, path := range in.files {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		name := filepath.Base(path)
		d.Documents = append(d.Documents, document{ID: path, Title: strings.TrimSuffix(name, filepath.Ext(name)), Text: strings.TrimSpace(string(data))})
	}
	return d, nil
}

// override lets flags that were given replace what the request says.
func (in *input) override(r *graphkv.Request) {
	changed := in.cmd.Flags().Changed
	if changed("strategy") {
		r.Strategy = graphkv.Strategy(in.strategy)
	}
	if changed("top-k") {
		r.TopK = in.topK
	}
	if changed("rounds") {
		r.Rounds = in.rounds
	}
	if changed("visible-rounds") {
		r.VisibleRounds = in.visibleRounds
	}
	if changed("ape-temperature") {
		r.APE.Temperature = in.ape.Temperature
	}
	if changed("ape-scale") {
		r.APE.Scale = in.ape.Scale
	}
	if changed("ape-shared-prefix") {
		r.APE.SharedPrefix = in.ape.SharedPrefix
	}
	if changed("repair-fraction") {
		r.Repair.Fraction = &in.repairFraction
	}
	if changed("repair-first") {
		r.Repair.First = &in.repairFirst
	}
	if changed("bidirectional") {
		r.Bidirectional = in.bidirectional
	}
	if changed("positions") {
		r.Positions = graphkv.Positions(in.positions)
	}
	if changed("center") {
		r.Center = in.center
	}
	if changed("max-tokens") {
		r.MaxTokens = in.answerLength()
	}
	if changed("temperature") {
		r.Temperature = in.temperature
	}
	if changed("stop") {
		r.Stop = in.stop
	}
}

// answerLength reads --max-tokens, where 0 means what it says.
func (in *input) answerLength() int {
	if in.maxTokens == 0 && in.cmd.Flags().Changed("max-tokens") {
		return graphkv.NoTokens
	}
	return in.maxTokens
}

// onlyTokens reports whether a request needs no tokenizer.
func onlyTokens(r *graphkv.Request) bool {
	if r.Prefix.Text != "" || r.Query.Text != "" {
		return false
	}
	for _, s := range r.Segments {
		if s.Text != "" {
			return false
		}
	}
	anchors := []graphkv.Piece{r.HDT.Document, r.HDT.Section, r.HDT.Sentence}
	return r.Strategy != graphkv.HDT || !slices.ContainsFunc(anchors, func(p graphkv.Piece) bool { return len(p.Tokens) == 0 })
}
