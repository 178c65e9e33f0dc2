// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/graph"
	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/redis"
)

// A plan can be looked at before, and without, running it.
func ExampleCompile() {
	plan, err := graphkv.Compile(&graphkv.Request{
		Strategy: graphkv.Ego,
		Center:   "paper",
		Prefix:   graphkv.Tokens(1, 2),
		Segments: []graphkv.Segment{
			{ID: "cited", Tokens: []int32{10, 11, 12, 13}},
			{ID: "also cited", Tokens: []int32{20, 21, 22}},
			{ID: "paper", Tokens: []int32{30, 31, 32, 33, 34, 35}},
		},
		Query: graphkv.Tokens(40, 41),
	}, graphkv.CompileOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for i := range plan.Len() {
		n := plan.Layout().Node(i)
		fmt.Printf("%-14s positions %2d…%2d, reads %d others\n", plan.ID(i), n.Base, n.Base+n.Len-1, len(plan.Layout().Sees(i)))
	}
	mask, err := plan.Mask(1)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(mask.Picture(40, nil))
	// Output:
	// kv0.cited      positions  2… 5, reads 0 others
	// kv0.also cited positions  2… 4, reads 0 others
	// kv0.paper      positions  6…11, reads 2 others
	// prefix         positions  0… 1, reads 0 others
	// query          positions 12…13, reads 4 others
	// #................
	// ##...............
	// ###..............
	// ####.............
	// ....#............
	// ....##...........
	// ....###..........
	// ########.........
	// #########........
	// ##########.......
	// ###########......
	// ############.....
	// #############....
	// .............#...
	// .............##..
	// ################.
	// #################
}

// The second request finds every passage in the cache, in whatever order it lists
// them.
func ExampleEngine_Generate() {
	engine, err := graphkv.Open("model/testdata/tiny/tiny-F32.gguf")
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()
	request := graphkv.Request{
		Strategy:  graphkv.PCW,
		Segments:  []graphkv.Segment{{ID: "a", Text: "The river crosses the city."}, {ID: "b", Text: "It is short."}},
		Query:     graphkv.Text("Where is it?"),
		MaxTokens: 4,
	}
	for range 2 {
		plan, err := engine.Compile(&request)
		if err != nil {
			log.Fatal(err)
		}
		result, err := engine.Generate(context.Background(), plan)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(result.Usage.EncodedTokens, "encoded,", result.Usage.CachedTokens, "reused")
		request.Segments[0], request.Segments[1] = request.Segments[1], request.Segments[0]
	}
	// Output:
	// 31 encoded, 0 reused
	// 7 encoded, 24 reused
}

// Three tiers: memory, a folder and a server that machines share.
func ExampleWithTier() {
	ctx := context.Background()
	store, err := redis.Open(ctx, "redis://localhost:6379", redis.Options{})
	if err != nil {
		log.Fatal(err)
	}
	engine, err := graphkv.Open("model.gguf",
		graphkv.WithCacheBytes(4<<30), // memory
		graphkv.WithDisk("", 64<<30),  // the user's cache folder
		graphkv.WithTier(kvcache.Tier{Store: store, Timeout: 500 * time.Millisecond}),
		graphkv.WithKVFormat(attention.F16),
		graphkv.WithEvents(kvcache.EventListener{State: func(e kvcache.StateEvent) { log.Printf("%+v", e) }}))
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close() // waits for what is being written
}

// Of a corpus, what the question's paper has most to read from, within a budget; and
// what it does not cite itself is quieter.
func ExampleRequest_WithGraph() {
	corpus, err := graph.FromEdges([]graph.Segment{
		{ID: "survey", Tokens: []int32{1, 2, 3, 4}},
		{ID: "attention", Tokens: []int32{5, 6, 7}},
		{ID: "rope", Tokens: []int32{8, 9}},
		{ID: "cooking", Tokens: []int32{10, 11, 12}},
	}, []graph.Edge{{Source: "attention", Target: "rope"}, {Source: "rope", Target: "survey"}})
	if err != nil {
		log.Fatal(err)
	}
	ranking, err := corpus.PersonalizedPageRank([]graph.Scored{{Segment: 0, Score: 1}}, graph.PageRank{})
	if err != nil {
		log.Fatal(err)
	}
	kept, err := corpus.Fit(ranking.Sequence(), graph.Budget{Limit: 10})
	if err != nil {
		log.Fatal(err)
	}
	near, err := corpus.Induced(kept)
	if err != nil {
		log.Fatal(err)
	}
	request := (&graphkv.Request{Strategy: graphkv.GraphKV, Query: graphkv.Tokens(13)}).WithGraph(near)
	request.Biases = graphkv.Biases{
		graphkv.ShortestPathBias{Table: []graphkv.PerHead{{0}, {0}, {-1}}, Unreachable: graphkv.PerHead{-2}},
	}
	plan, err := graphkv.Compile(request, graphkv.CompileOptions{Heads: 1})
	if err != nil {
		log.Fatal(err)
	}
	l := plan.Layout()
	for i := range plan.Len() {
		for _, s := range l.Sees(i) {
			if bias := l.Score(s).Bias; bias != nil {
				fmt.Println(plan.ID(i), "←", plan.ID(int(s.Node)), bias[0])
			}
		}
	}
	// Output:
	// kv1.attention ← kv0.rope -2
	// kv1.attention ← kv0.survey -2
	// kv1.rope ← kv0.survey -2
	// kv1.survey ← kv0.attention -1
}
