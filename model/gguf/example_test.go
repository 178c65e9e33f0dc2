// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gguf_test

import (
	"bytes"
	"fmt"

	"github.com/graphkv/graphkv/model/gguf"
)

// A file is written with a Builder and read back.
func Example() {
	var b gguf.Builder
	if err := b.Set("general.architecture", "llama"); err != nil {
		panic(err)
	}
	if err := b.Set("llama.block_count", uint32(30)); err != nil {
		panic(err)
	}
	if err := b.AddFloat32("output_norm.weight", []int{4}, []float32{1, 2, 3, 4}); err != nil {
		panic(err)
	}
	var file bytes.Buffer
	if _, err := b.WriteTo(&file); err != nil {
		panic(err)
	}

	f, err := gguf.Parse(file.Bytes())
	if err != nil {
		panic(err)
	}
	layers, err := f.Uint("llama.block_count")
	fmt.Println(layers, err)
	_, err = f.Float("llama.rope.freq_base")
	fmt.Println(err)
	_, err = f.String("llama.block_count")
	fmt.Println(err)
	for _, t := range f.Tensors() {
		row := make([]float32, t.RowLen())
		fmt.Println(t.Name, t.Type, t.Shape, t.Row(row, 0), row)
	}
	// Output:
	// 30 <nil>
	// gguf: missing key "llama.rope.freq_base"
	// gguf: wrong value type: key "llama.block_count" is uint32 30, want string
	// output_norm.weight F32 [4] <nil> [1 2 3 4]
}
