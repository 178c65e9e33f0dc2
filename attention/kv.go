// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention

import (
	"fmt"
	"math"
	"unsafe"
)

const (
	// panelKeys is the number of keys that stand side by side in a panel: a vector of 16 float32.
	panelKeys = 16
	// MaxTokens is the largest number of tokens of a KV.
	MaxTokens = math.MaxInt32
)

// KV is a view of the keys and values of a run of tokens in one layer, in the order in which the kernels stream them:
//
//	keys   [KVHeads][⌈Tokens/16⌉][HeadDim][16]
//	values [KVHeads][Tokens][HeadDim]
//
// Sixteen keys stand side by side, so that a dot product with sixteen keys is a chain of vector operations and nothing is left to be
// rearranged when the keys are read. Tokens are written one by one with Store. The zero value holds no tokens.
//
// A KV is a small value that is passed by copy; copies share the memory. Reading it from several goroutines is safe while none writes.
type KV struct {
	format                   Format
	kvHeads, headDim, tokens int
	k, v                     []float32
}

// KVSize returns the number of bytes that tokens tokens take. Dimensions must be positive and small enough for the size to fit an int.
func KVSize(f Format, kvHeads, headDim, tokens int) int {
	return 4 * kvHeads * headDim * (roundUp(tokens) + tokens)
}

// roundUp rounds a number of keys up to whole panels.
func roundUp(keys int) int { return (keys + panelKeys - 1) &^ (panelKeys - 1) }

// NewKV returns zeroed keys and values. It panics where ViewKV would.
func NewKV(f Format, kvHeads, headDim, tokens int) KV {
	check(f, kvHeads, headDim, tokens)
	return ViewKV(f, kvHeads, headDim, tokens, make([]byte, KVSize(f, kvHeads, headDim, tokens)))
}

// ViewKV interprets mem, of KVSize bytes and at a multiple of four bytes in memory, as keys and values. It panics if the format is
// unknown, a dimension is not positive, tokens is not in [0, MaxTokens], or mem does not fit.
func ViewKV(f Format, kvHeads, headDim, tokens int, mem []byte) KV {
	check(f, kvHeads, headDim, tokens)
	if n := KVSize(f, kvHeads, headDim, tokens); len(mem) != n {
		panic(fmt.Sprintf("attention: %d bytes for keys and values that take %d", len(mem), n))
	}
	x := KV{format: f, kvHeads: kvHeads, headDim: headDim, tokens: tokens}
	if tokens > 0 {
		all := floats(mem)
		n := kvHeads * headDim * roundUp(tokens)
		x.k, x.v = all[:n:n], all[n:]
	}
	return x
}

func check(f Format, kvHeads, headDim, tokens int) {
	if !f.Valid() || kvHeads < 1 || headDim < 1 || tokens < 0 || tokens > MaxTokens {
		panic(fmt.Sprintf("attention: no KV of %v, %d heads × %d elements × %d tokens", f, kvHeads, headDim, tokens))
	}
}

// floats views memory as float32.
func floats(mem []byte) []float32 {
	p := unsafe.Pointer(unsafe.SliceData(mem))
	if uintptr(p)%4 != 0 {
		panic("attention: memory of keys and values is not at a multiple of four bytes")
	}
	return unsafe.Slice((*float32)(p), len(mem)/4)
}

// PackKV stores plain arrays k and v, each [tokens][kvHeads][headDim], keys rotated at positions 0, 1, …, as far as they are rotated at
// all. It panics if their lengths are unequal or not whole tokens.
func PackKV(f Format, kvHeads, headDim int, k, v []float32) KV {
	width := kvHeads * headDim
	check(f, kvHeads, headDim, 0)
	if len(k) != len(v) || len(k)%width != 0 {
		panic(fmt.Sprintf("attention: PackKV of %d and %d numbers, %d a token", len(k), len(v), width))
	}
	x := NewKV(f, kvHeads, headDim, len(k)/width)
	for i := range x.tokens {
		x.Store(i, k[i*width:(i+1)*width], v[i*width:(i+1)*width])
	}
	return x
}

// Format returns the format of the numbers.
func (x KV) Format() Format { return x.format }

// KVHeads returns the number of heads.
func (x KV) KVHeads() int { return x.kvHeads }

// HeadDim returns the number of elements of a head.
func (x KV) HeadDim() int { return x.headDim }

// Tokens returns the number of tokens that there is room for.
func (x KV) Tokens() int { return x.tokens }

// Store writes token i: its key and its value, each [KVHeads][HeadDim]. It panics if i or a length is out of range.
func (x KV) Store(i int, k, v []float32) {
	x.checkToken(i, k, v)
	d := x.headDim
	for h := range x.kvHeads {
		at := x.keyAt(h, i)
		for _, y := range k[h*d : (h+1)*d] {
			x.k[at] = y
			at += panelKeys
		}
		copy(x.v[(h*x.tokens+i)*d:][:d], v[h*d:])
	}
}

// Load reads what Store wrote for token i.
func (x KV) Load(i int, k, v []float32) {
	x.checkToken(i, k, v)
	d := x.headDim
	for h := range x.kvHeads {
		at := x.keyAt(h, i)
		for t := range d {
			k[h*d+t] = x.k[at]
			at += panelKeys
		}
		copy(v[h*d:(h+1)*d], x.v[(h*x.tokens+i)*d:])
	}
}

func (x KV) checkToken(i int, k, v []float32) {
	if uint(i) >= uint(x.tokens) {
		panic(fmt.Sprintf("attention: token %d of a KV of %d", i, x.tokens))
	}
	if n := x.kvHeads * x.headDim; len(k) != n || len(v) != n {
		panic(fmt.Sprintf("attention: key and value of %d and %d numbers, want %d", len(k), len(v), n))
	}
}

// keyAt returns where element 0 of a key stands; the next ones follow panelKeys apart.
func (x KV) keyAt(head, i int) int {
	return (head*roundUp(x.tokens)+i&^(panelKeys-1))*x.headDim + i&(panelKeys-1)
}

// block returns head h's keys and values from token j, a multiple of panelKeys, to token j+n.
func (x KV) block(h, j, n int) (k, v []float32) {
	d := x.headDim
	k = x.k[(h*roundUp(x.tokens)+j)*d:][:roundUp(n)*d]
	v = x.v[(h*x.tokens+j)*d:][:n*d]
	return k, v
}
