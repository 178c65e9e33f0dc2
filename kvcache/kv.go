// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/graphkv/graphkv/attention"
)

// Shape is what the KVs of one model have in common.
type Shape struct {
	Layers  int // transformer layers
	KVHeads int // key/value heads per layer
	HeadDim int // numbers per head
	Format  attention.Format
}

// MaxKVBytes is the largest KV that NewKV makes, 1 TiB (on 32-bit machines less:
// what an int can count). It bounds sizes long before arithmetic overflows.
const MaxKVBytes = 1 << 40

// ShapeError says that there can be no KV of this shape and length.
type ShapeError struct {
	Shape  Shape
	Tokens int
	Reason string
}

func (e *ShapeError) Error() string {
	return fmt.Sprintf("kvcache: no KV of %d layers × %d KV heads × head dim %d × %d tokens: %s",
		e.Shape.Layers, e.Shape.KVHeads, e.Shape.HeadDim, e.Tokens, e.Reason)
}

// Bytes returns the size of a KV of this shape: Layers × attention.KVSize, of which keys fill whole panels of 16 tokens. It returns a
// *[ShapeError] if a dimension is not positive, the format is unknown, tokens is negative or the size exceeds [MaxKVBytes].
func (s Shape) Bytes(tokens int) (int64, error) {
	switch {
	case s.Layers <= 0 || s.KVHeads <= 0 || s.HeadDim <= 0:
		return 0, &ShapeError{s, tokens, "every dimension must be positive"}
	case !s.Format.Valid():
		return 0, &ShapeError{s, tokens, fmt.Sprintf("unknown format %v", s.Format)}
	case tokens < 0:
		return 0, &ShapeError{s, tokens, "negative number of tokens"}
	}
	limit := uint64(min(MaxKVBytes, math.MaxInt))
	tooLarge := &ShapeError{s, tokens, fmt.Sprintf("more than %d bytes", limit)}
	n := uint64(1)
	for _, d := range [...]int{s.Layers, s.KVHeads, s.HeadDim, tokens} {
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > limit {
			return 0, tooLarge
		}
		n = lo
	}
	if tokens > attention.MaxTokens {
		return 0, tooLarge
	}
	layer := attention.KVSize(s.Format, s.KVHeads, s.HeadDim, tokens)
	if uint64(layer) > limit/uint64(s.Layers) {
		return 0, tooLarge
	}
	return int64(layer) * int64(s.Layers), nil
}

// KV holds the keys and values of one node for every layer. Keys are rotated at the node's local positions 0…Tokens−1. The encoder fills a
// KV before it gives it to a store; from then on nobody may write to it, and any number of goroutines may read it.
type KV struct {
	shape  Shape
	tokens int
	layer  int    // bytes of a layer
	data   []byte // [Layers][layer]
	info   Info
}

// NewKV returns a zeroed KV. It panics with a *[ShapeError] where [Shape.Bytes] returns one: shapes come from a validated model, lengths
// from a checked layout.
func NewKV(s Shape, tokens int) *KV {
	n, err := s.Bytes(tokens)
	if err != nil {
		panic(err)
	}
	return &KV{shape: s, tokens: tokens, layer: int(n) / s.Layers, data: make([]byte, n)}
}

// ViewKV interprets data, the [KV.Data] of a KV of that shape and length, as a KV. It does not copy: data must stay as it is for as long as
// the KV is used. Data that may come from elsewhere is checked by whoever read it. The error is a *[ShapeError].
func ViewKV(s Shape, tokens int, data []byte) (*KV, error) {
	n, err := s.Bytes(tokens)
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != n {
		return nil, &ShapeError{s, tokens, fmt.Sprintf("it takes %d bytes, there are %d", n, len(data))}
	}
	return &KV{shape: s, tokens: tokens, layer: int(n) / s.Layers, data: data}, nil
}

// Data returns the memory of the KV, layer by layer, each of Bytes/Layers bytes. It must not be written to.
func (kv *KV) Data() []byte { return kv.data }

// Info returns what the encoder said with SetInfo.
func (kv *KV) Info() Info { return kv.info }

// SetInfo is called by whoever made the KV, before giving it to a store.
func (kv *KV) SetInfo(i Info) { kv.info = i }

// Layer returns the keys and the values of layer l, a view of the KV. Layer panics if l is out of range.
func (kv *KV) Layer(l int) attention.KV {
	if uint(l) >= uint(kv.shape.Layers) {
		panic(fmt.Sprintf("kvcache: layer %d of a KV with %d layers", l, kv.shape.Layers))
	}
	at := kv.layer * l
	return attention.ViewKV(kv.shape.Format, kv.shape.KVHeads, kv.shape.HeadDim, kv.tokens, kv.data[at:at+kv.layer:at+kv.layer])
}

// Tokens returns the number of tokens.
func (kv *KV) Tokens() int { return kv.tokens }

// Shape returns the shape.
func (kv *KV) Shape() Shape { return kv.shape }

// Bytes returns the size of the keys and values in bytes.
func (kv *KV) Bytes() int64 { return int64(len(kv.data)) }
