// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package sample_test

import (
	"fmt"

	"github.com/graphkv/graphkv/model/sample"
)

func ExampleSampler() {
	logits := []float32{1, 4, 3.5, -2, 0}

	greedy, _ := sample.New(sample.Params{})
	fmt.Println(greedy.Sample(logits))

	// Top-k and top-p leave tokens 1 and 2.
	s, _ := sample.New(sample.Params{Temperature: 0.8, TopK: 3, TopP: 0.9, Seed: 1})
	count := make([]int, len(logits))
	for range 1000 {
		id, _ := s.Sample(logits)
		count[id]++
	}
	fmt.Println(count[0], count[1] > count[2], count[1]+count[2])

	_, err := sample.New(sample.Params{Temperature: 1, TopP: 1.5})
	fmt.Println(err)
	// Output:
	// 1 <nil>
	// 0 true 1000
	// sample: TopP is 1.5, want 0 to 1
}

func ExampleStream() {
	s := sample.NewStream([]string{"\n\n"})
	for _, token := range []string{"caf\xc3", "\xa9", " au\n", "lait\n", "\nQuestion"} {
		emit, stopped := s.Push([]byte(token))
		fmt.Printf("%q %v\n", emit, stopped)
	}
	// Output:
	// "caf" false
	// "é" false
	// " au" false
	// "\nlait" false
	// "" true
}
