// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package draw

// spread places things on a line as near to where they want to be as they can without
// coming too close: it minimises Σ weight·(place − wish)² under place[i+1] − place[i] ≥
// apart[i], by pooling neighbours that violate it (isotonic regression). The order stays.
func spread(wish, weight, apart []float64) []float64 {
	type block struct {
		mean, weight float64
		size         int
	}
	out := make([]float64, len(wish))
	offset := make([]float64, len(wish)) // place of the first if all stood as close as they may
	var blocks []block
	for i := range wish {
		if i > 0 {
			offset[i] = offset[i-1] + apart[i-1]
		}
		b := block{wish[i] - offset[i], weight[i], 1}
		for len(blocks) > 0 && blocks[len(blocks)-1].mean > b.mean {
			a := blocks[len(blocks)-1]
			blocks = blocks[:len(blocks)-1]
			w := a.weight + b.weight
			b = block{(a.mean*a.weight + b.mean*b.weight) / w, w, a.size + b.size}
		}
		blocks = append(blocks, b)
	}
	i := 0
	for _, b := range blocks {
		for range b.size {
			out[i] = b.mean + offset[i]
			i++
		}
	}
	return out
}
