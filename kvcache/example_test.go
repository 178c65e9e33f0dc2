// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache_test

import (
	"context"
	"fmt"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/kvtest"
)

// A passage is encoded once and read by a later passage, whose key names it.
func Example() {
	scope := kvcache.NewScope(kvcache.ScopeConfig{Model: [32]byte{1}, Encoding: "f32", Namespace: "docs"})
	source := scope.Key([]int32{11, 12, 13}, nil)
	target := scope.Key([]int32{21, 22}, []kvcache.Source{{Key: source, Base: -3}})
	fmt.Println(source == target)

	store := kvcache.NewMemory(64 << 20)
	shape := kvcache.Shape{Layers: 2, KVHeads: 1, HeadDim: 4}
	for range 2 {
		h, hit, err := store.GetOrEncode(context.Background(), source, func(context.Context) (*kvcache.KV, error) {
			kv := kvcache.NewKV(shape, 3)
			kv.Layer(0).Store(0, []float32{0.5, 0, 0, 0}, []float32{-0.5, 0, 0, 0}) // the model's forward pass fills all of it
			return kv, nil
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		k, v := make([]float32, 4), make([]float32, 4)
		h.KV().Layer(0).Load(0, k, v)
		fmt.Println("hit:", hit, "tokens:", h.KV().Tokens(), "k[0]:", k[0])
		h.Release()
	}
	fmt.Println("bytes:", store.Metrics().Bytes)
	// Output:
	// false
	// hit: false tokens: 3 k[0]: 0.5
	// hit: true tokens: 3 k[0]: 0.5
	// bytes: 1152
}

// A request claims what it needs, encodes what nobody else does, then waits for
// the rest.
func ExampleMemory_Claim() {
	store := kvcache.NewMemory(1 << 20)
	shape := kvcache.Shape{Layers: 1, KVHeads: 1, HeadDim: 2}
	key := kvcache.Key{7}

	_, mine, owner := store.Claim(key)
	_, theirs, second := store.Claim(key) // another request, at the same time
	fmt.Println(owner, second)

	h := mine.Complete(kvcache.NewKV(shape, 5))
	defer h.Release()
	other, err := theirs.Wait(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer other.Release()
	fmt.Println(h.KV() == other.KV())
	// Output:
	// true false
	// true
}

// Sources on one position range form a set: their order does not matter.
func ExampleScope_Key() {
	scope := kvcache.NewScope(kvcache.ScopeConfig{Encoding: "f32"})
	a := kvcache.Source{Key: scope.Key([]int32{1}, nil), Base: -1}
	b := kvcache.Source{Key: scope.Key([]int32{2}, nil), Base: -1}
	k := scope.Key([]int32{3}, []kvcache.Source{a, b})
	fmt.Println(k == scope.Key([]int32{3}, []kvcache.Source{b, a}))
	a.Scale = 1 // neutral, as 0 is
	fmt.Println(k == scope.Key([]int32{3}, []kvcache.Source{a, b}))
	a.Scale = 0.9
	fmt.Println(k == scope.Key([]int32{3}, []kvcache.Source{a, b}))
	// Output:
	// true
	// true
	// false
}

// A store that is larger, and there tomorrow, below memory. What the owner of a flight
// encodes is written to it behind the request's back, and found by the next process.
func ExampleTiered() {
	disk := kvtest.NewMedium("disk") // stands for a folder
	key := kvcache.Key{7}
	for process := range 2 {
		store := kvcache.NewTiered(kvcache.TieredOptions{
			Memory: 64 << 20,
			Tiers:  []kvcache.Tier{{Store: disk.Open()}},
		})
		_, flight, _ := store.Claim(key)
		h, err := store.Fetch(context.Background(), flight, kvcache.Estimate{})
		fmt.Println("process", process, "found:", err == nil)
		if err != nil {
			h = flight.Complete(kvcache.NewKV(kvcache.Shape{Layers: 1, KVHeads: 1, HeadDim: 2}, 5))
		}
		h.Release()
		if err := store.Close(); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// process 0 found: false
	// process 1 found: true
}
