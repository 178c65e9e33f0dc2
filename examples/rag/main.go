// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Command rag answers questions from the machine's manual pages: a corpus that is a graph of itself, because pages name each other
// under SEE ALSO. It shows what a retrieval server does with graphkv as a library: retrieve passages by words, follow their links
// for the passages they depend on, and let every passage read those, with keys and values that are encoded once.
//
//	go run . -warm                                    # once: encode every passage, into the user's cache folder
//	go run . "How do I block a signal in one thread?"
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/graph"
	"github.com/graphkv/graphkv/hub"
)

type options struct {
	man, model, strategy string
	hits, hops, budget   int
	cache                int64
	warm                 bool
}

func main() {
	var o options
	flag.StringVar(&o.man, "man", "/usr/share/man", "folder with man1 to man8 (on Debian: apt-get install manpages)")
	flag.StringVar(&o.model, "model", "smollm2-135m-instruct", "built-in model name or a GGUF file")
	flag.StringVar(&o.strategy, "strategy", "dag", "dag: passages read the passages that they link to; or any other strategy")
	flag.IntVar(&o.hits, "hits", 4, "passages to retrieve by words")
	flag.IntVar(&o.hops, "hops", 1, "how far to follow their links")
	flag.IntVar(&o.budget, "budget", 2500, "tokens that all passages may have together")
	flag.Int64Var(&o.cache, "cache-budget", 10<<30, "bytes that encoded passages may take on disk")
	flag.BoolVar(&o.warm, "warm", false, "encode every passage ahead of time")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o, strings.Join(flag.Args(), " ")); err != nil {
		fmt.Fprintln(os.Stderr, "rag:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, question string) error {
	if question == "" && !o.warm {
		return fmt.Errorf("give a question, or -warm")
	}
	pages, err := manPages(o.man)
	if err != nil {
		return err
	}
	c, err := newCorpus(pages)
	if err != nil {
		return err
	}
	if c.Len() == 0 {
		return fmt.Errorf("no manual pages in %s; on Debian, apt-get install manpages", o.man)
	}
	fmt.Printf("%d pages, %d passages, %d links\n", len(pages), c.Len(), c.NumEdges())
	path, err := hub.Pull(ctx, o.model, hub.Options{})
	if err != nil {
		return err
	}
	engine, err := graphkv.Open(path, graphkv.WithDisk("", o.cache))
	if err != nil {
		return err
	}
	defer engine.Close()
	a := &assistant{engine: engine, corpus: c, options: o}
	if o.warm {
		if err := a.warm(ctx); err != nil {
			return err
		}
	}
	if question == "" {
		return nil
	}
	if a.index, err = newIndex(c); err != nil {
		return err
	}
	return a.ask(ctx, question)
}

// assistant answers questions over a corpus.
type assistant struct {
	engine *graphkv.Engine
	corpus *corpus
	index  *index
	options
}

// warmed is how many passages are handed to the engine at once: it packs them into few passes.
const warmed = 64

// warm encodes every passage by itself, unless it is stored already.
func (a *assistant) warm(ctx context.Context) error {
	start, encoded := time.Now(), 0
	for from := 0; from < a.corpus.Len(); from += warmed {
		r := &graphkv.Request{Strategy: graphkv.PCW, Query: graphkv.Tokens(0)}
		for i := from; i < min(from+warmed, a.corpus.Len()); i++ {
			s := a.corpus.Segment(i)
			r.Segments = append(r.Segments, graphkv.Segment{ID: s.ID, Text: s.Text})
		}
		plan, err := a.engine.Compile(r)
		if err != nil {
			return err
		}
		usage, err := a.engine.Warm(ctx, plan)
		if err != nil {
			return err
		}
		encoded += usage.EncodedTokens
		if err := a.engine.Flush(ctx); err != nil {
			return err
		}
		fmt.Printf("\r%d of %d passages", min(from+warmed, a.corpus.Len()), a.corpus.Len())
	}
	fmt.Printf(": %d tokens encoded in %.1f s\n", encoded, time.Since(start).Seconds())
	return nil
}

// ask retrieves, expands and answers.
func (a *assistant) ask(ctx context.Context, question string) error {
	hits, err := a.index.find(question, a.hits)
	if err != nil {
		return err
	}
	if len(hits) == 0 {
		return fmt.Errorf("no passage has a word of the question")
	}
	chosen, err := a.expand(hits)
	if err != nil {
		return err
	}
	request, err := a.request(chosen, question)
	if err != nil {
		return err
	}
	plan, err := a.engine.Compile(request)
	if err != nil {
		return err
	}
	result, err := a.engine.Generate(ctx, plan, graphkv.Stream(func(text string) error {
		fmt.Print(text)
		return nil
	}))
	if err != nil {
		return err
	}
	fmt.Printf("\n\nsources:\n")
	for _, i := range slices.Backward(chosen) {
		how := "linked"
		if slices.Contains(hits, a.corpus.ID(i)) {
			how = "found"
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(a.corpus.Segment(i).Text, "- Title: "), "\n")
		fmt.Printf("  %-6s  %s\n", how, name)
	}
	u := result.Usage
	fmt.Printf("%d tokens encoded, %d reused, %d of them from disk; first token after %.0f ms\n",
		u.EncodedTokens, u.CachedTokens, u.FetchedTokens, result.Timings.FirstToken)
	return nil
}

// expand returns what was found and what it links to as far as hops steps, in ascending order of relevance: the best passages are
// the last, and where the budget ends the least relevant are left out.
func (a *assistant) expand(hits []string) ([]int, error) {
	type place struct{ segment, distance, rank int }
	best := map[int]place{}
	for rank, id := range hits {
		center, _ := a.corpus.Index(id)
		rings, err := a.corpus.HopNeighbourhoods(center, a.hops, graph.Incoming)
		if err != nil {
			return nil, err
		}
		for _, ring := range rings {
			for _, s := range ring.Segments {
				p := place{s, ring.Radius, rank}
				if old, ok := best[s]; !ok || p.distance < old.distance || p.distance == old.distance && p.rank < old.rank {
					best[s] = p
				}
			}
		}
	}
	order := make([]place, 0, len(best))
	for _, p := range best {
		order = append(order, p)
	}
	slices.SortFunc(order, func(x, y place) int {
		return cmp.Or(cmp.Compare(y.distance, x.distance), cmp.Compare(y.rank, x.rank), cmp.Compare(x.segment, y.segment))
	})
	sequence := make([]int, len(order))
	for i, p := range order {
		sequence[i] = p.segment
	}
	lengths := make([]int, a.corpus.Len())
	for _, i := range sequence {
		lengths[i] = len(a.engine.Tokenizer().Encode(nil, a.corpus.Segment(i).Text, false))
	}
	return a.corpus.Fit(sequence, graph.Budget{Limit: a.budget, Lengths: lengths})
}

// request puts the chosen passages, the links among them and the question together.
func (a *assistant) request(chosen []int, question string) (*graphkv.Request, error) {
	r := &graphkv.Request{
		Strategy: graphkv.Strategy(a.strategy), TopK: 3, Rounds: 1, VisibleRounds: []int{0, 1}, MaxTokens: 80, Stop: []string{"\n\n"},
		Prefix: graphkv.Text("<|im_start|>system\nAnswer from the manual pages below.<|im_end|>\n<|im_start|>user\n"),
	}
	g, err := a.corpus.Induced(chosen)
	if err != nil {
		return nil, err
	}
	for i := range g.Len() {
		r.Segments = append(r.Segments, graphkv.Segment{ID: g.ID(i), Text: g.Segment(i).Text})
		for _, s := range g.Sources(i) {
			r.Edges = append(r.Edges, graphkv.Edge{g.ID(int(s)), g.ID(i)})
		}
	}
	// The question is foreign text: it must not become a special token.
	t := a.engine.Tokenizer()
	query := t.Encode(nil, "Question: "+question, false)
	r.Query = graphkv.Tokens(t.Encode(query, "<|im_end|>\n<|im_start|>assistant\n", true)...)
	r.Center = r.Segments[len(r.Segments)-1].ID
	if r.Strategy == graphkv.DAG {
		r.Center = ""
	}
	return r, nil
}
