// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/internal/mem"
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

// Align is what the address of every layer of a KV is a multiple of, in bytes: a cache line, and the widest vector there is.
const Align = mem.Align

// Bytes returns the size of a KV of this shape: Layers × [Shape.LayerBytes].
func (s Shape) Bytes(tokens int) (int64, error) {
	n, err := s.LayerBytes(tokens)
	return n * int64(s.Layers), err
}

// LayerBytes returns the size of a layer, which is the distance between layers as well: attention.KVSize, of which keys fill whole panels of
// 16 tokens, rounded up to a multiple of [Align]. It returns a *[ShapeError] if a dimension is not positive, the format is unknown, tokens is
// negative or all layers together exceed [MaxKVBytes].
func (s Shape) LayerBytes(tokens int) (int64, error) {
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
	layer := (int64(attention.KVSize(s.Format, s.KVHeads, s.HeadDim, tokens)) + Align - 1) &^ (Align - 1)
	if uint64(layer) > limit/uint64(s.Layers) {
		return 0, tooLarge
	}
	return layer, nil
}

// KV holds the keys and values of one node for every layer. Keys are rotated at the node's local positions 0…Tokens−1. The encoder fills a
// KV before it gives it to a store; from then on nobody may write to it, and any number of goroutines may read it.
type KV struct {
	shape  Shape
	tokens int
	layer  int    // bytes from one layer to the next
	data   []byte // [Layers][layer], at a multiple of Align
	info   Info

	progress *progress // nil: all layers are there
}

// NewKV returns a zeroed KV. It panics with a *[ShapeError] where [Shape.Bytes] returns one: shapes come from a validated model, lengths
// from a checked layout.
func NewKV(s Shape, tokens int) *KV {
	n, err := s.LayerBytes(tokens)
	if err != nil {
		panic(err)
	}
	return &KV{shape: s, tokens: tokens, layer: int(n), data: mem.Bytes(int(n) * s.Layers)}
}

// ViewKV interprets data, the [KV.Data] of a KV of that shape and length, as a KV. It does not copy: data must stay as it is for as long as
// the KV is used. Data that may come from elsewhere is checked by whoever read it. The error is a *[ShapeError], also if data does not
// start at a multiple of [Align]. To read a KV into memory, make it with [NewKV] and fill its Data.
func ViewKV(s Shape, tokens int, data []byte) (*KV, error) {
	n, err := s.LayerBytes(tokens)
	if err != nil {
		return nil, err
	}
	all := n * int64(s.Layers)
	switch {
	case int64(len(data)) != all:
		return nil, &ShapeError{s, tokens, fmt.Sprintf("it takes %d bytes, there are %d", all, len(data))}
	case all == 0:
		data = nil // wherever that is
	case !mem.Aligned(data):
		return nil, &ShapeError{s, tokens, fmt.Sprintf("its memory does not start at a multiple of %d", Align)}
	}
	return &KV{shape: s, tokens: tokens, layer: int(n), data: data}, nil
}

// Data returns the memory of the KV, layer by layer, each of [Shape.LayerBytes] bytes. Only whoever made the KV may write to it, before giving
// it to a store.
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
	n := attention.KVSize(kv.shape.Format, kv.shape.KVHeads, kv.shape.HeadDim, kv.tokens)
	return attention.ViewKV(kv.shape.Format, kv.shape.KVHeads, kv.shape.HeadDim, kv.tokens, kv.data[at:at+n:at+n])
}

// Tokens returns the number of tokens.
func (kv *KV) Tokens() int { return kv.tokens }

// Shape returns the shape.
func (kv *KV) Shape() Shape { return kv.shape }

// Bytes returns the size in bytes, which is Shape.Bytes.
func (kv *KV) Bytes() int64 { return int64(len(kv.data)) }
