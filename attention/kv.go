// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention

import (
	"fmt"
	"math"
	"unsafe"

	"github.com/graphkv/graphkv/internal/mem"
)

const (
	// PanelKeys is the number of keys that stand side by side in memory, see [KV.From].
	PanelKeys = panelKeys
	// panelKeys is the number of keys that stand side by side in a panel: a vector of 16 float32.
	panelKeys = 16
	// MaxTokens is the largest number of tokens of a KV.
	MaxTokens = math.MaxInt32
)

// KV is a view of the keys and values of a run of tokens in one layer, in the order in which the kernels stream them:
//
//	scales of keys   [KVHeads][⌈Tokens/16⌉][16] float32, in format I8 only
//	scales of values [KVHeads][Tokens] float32, in format I8 only
//	keys             [KVHeads][⌈Tokens/16⌉][HeadDim][16]
//	values           [KVHeads][Tokens][HeadDim]
//
// Sixteen keys stand side by side, so that a dot product with sixteen keys is a chain of vector operations and nothing is left to be
// rearranged when the keys are read. Tokens are written one by one with Store. The zero value holds no tokens.
//
// A KV is a small value that is passed by copy; copies share the memory. Reading it from several goroutines is safe while none writes.
type KV struct {
	format                   Format
	kvHeads, headDim, tokens int
	first, all               int // the view's first token in the memory, and how many that holds
	mem                      []byte
}

// KVSize returns the number of bytes that tokens tokens take. Dimensions must be positive and small enough for the size to fit an int.
func KVSize(f Format, kvHeads, headDim, tokens int) int {
	slots := kvHeads * (roundUp(tokens) + tokens)
	n := f.bytes() * headDim * slots
	if f == I8 {
		n += 4 * slots
	}
	return n
}

// roundUp rounds a number of keys up to whole panels.
func roundUp(keys int) int { return (keys + panelKeys - 1) &^ (panelKeys - 1) }

// NewKV returns zeroed keys and values. It panics where ViewKV would.
func NewKV(f Format, kvHeads, headDim, tokens int) KV {
	check(f, kvHeads, headDim, tokens)
	return ViewKV(f, kvHeads, headDim, tokens, mem.Bytes(KVSize(f, kvHeads, headDim, tokens)))
}

// ViewKV interprets mem, of KVSize bytes and at a multiple of four bytes in memory, as keys and values. It panics if the format is
// unknown, a dimension is not positive, tokens is not in [0, MaxTokens], or mem does not fit.
func ViewKV(f Format, kvHeads, headDim, tokens int, mem []byte) KV {
	check(f, kvHeads, headDim, tokens)
	if n := KVSize(f, kvHeads, headDim, tokens); len(mem) != n {
		panic(fmt.Sprintf("attention: %d bytes for keys and values that take %d", len(mem), n))
	}
	if uintptr(unsafe.Pointer(unsafe.SliceData(mem)))%4 != 0 {
		panic("attention: memory of keys and values is not at a multiple of four bytes")
	}
	return KV{format: f, kvHeads: kvHeads, headDim: headDim, tokens: tokens, all: tokens, mem: mem}
}

// From returns a view of the tokens from token i on, which becomes token 0. i must be a multiple of [PanelKeys] from 0 to
// Tokens; From panics if it is not.
func (x KV) From(i int) KV {
	if i < 0 || i > x.tokens || i%panelKeys != 0 {
		panic(fmt.Sprintf("attention: view from token %d of a KV of %d, want a multiple of %d", i, x.tokens, panelKeys))
	}
	x.first += i
	x.tokens -= i
	return x
}

func check(f Format, kvHeads, headDim, tokens int) {
	if !f.Valid() || kvHeads < 1 || headDim < 1 || tokens < 0 || tokens > MaxTokens {
		panic(fmt.Sprintf("attention: no KV of %v, %d heads × %d elements × %d tokens", f, kvHeads, headDim, tokens))
	}
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

// Store writes token i: its key and its value, each [KVHeads][HeadDim]. Without a value, nil, only the key is written. It panics if i or
// a length is out of range.
func (x KV) Store(i int, k, v []float32) {
	x.checkToken(i, k, v)
	d := x.headDim
	for h := range x.kvHeads {
		k, v, at := head(k, h, d), head(v, h, d), i&(panelKeys-1)
		switch x.format {
		case F32:
			keys, values := numbers[float32](x, h, i, 1)
			for _, y := range k {
				keys[at] = y
				at += panelKeys
			}
			copy(values, v)
		case I8:
			keys, values := numbers[int8](x, h, i, 1)
			ks, vs := x.scales(h, i, 1)
			ks[at] = scaleI8(k)
			inverse := inverseI8(ks[at])
			for e, y := range k {
				keys[at+e*panelKeys] = toI8(y * inverse)
			}
			if v != nil {
				vs[0] = scaleI8(v)
				inverse = inverseI8(vs[0])
			}
			for e, y := range v {
				values[e] = toI8(y * inverse)
			}
		case F16:
			keys, values := numbers[uint16](x, h, i, 1)
			for e, y := range k {
				keys[at+e*panelKeys] = toF16(y)
			}
			for e, y := range v {
				values[e] = toF16(y)
			}
		case BF16:
			keys, values := numbers[uint16](x, h, i, 1)
			for e, y := range k {
				keys[at+e*panelKeys] = toBF16(y)
			}
			for e, y := range v {
				values[e] = toBF16(y)
			}
		}
	}
}

// head returns head h of a key or a value, nil if there is none.
func head(x []float32, h, d int) []float32 {
	if x == nil {
		return nil
	}
	return x[h*d : (h+1)*d]
}

// Load reads what Store wrote for token i, as the kernels see it; with nil for v, the key alone.
func (x KV) Load(i int, k, v []float32) {
	x.checkToken(i, k, v)
	d := x.headDim
	for h := range x.kvHeads {
		k, v, at := head(k, h, d), head(v, h, d), i&(panelKeys-1)
		switch x.format {
		case F32:
			keys, values := numbers[float32](x, h, i, 1)
			for e := range k {
				k[e] = keys[at+e*panelKeys]
			}
			copy(v, values)
		case I8:
			keys, values := numbers[int8](x, h, i, 1)
			ks, vs := x.scales(h, i, 1)
			for e := range k {
				k[e] = float32(keys[at+e*panelKeys]) * ks[at]
			}
			for e := range v {
				v[e] = float32(values[e]) * vs[0]
			}
		case F16:
			keys, values := numbers[uint16](x, h, i, 1)
			for e := range k {
				k[e] = fromF16(keys[at+e*panelKeys])
			}
			for e := range v {
				v[e] = fromF16(values[e])
			}
		case BF16:
			keys, values := numbers[uint16](x, h, i, 1)
			for e := range k {
				k[e] = fromBF16(keys[at+e*panelKeys])
			}
			for e := range v {
				v[e] = fromBF16(values[e])
			}
		}
	}
}

func (x KV) checkToken(i int, k, v []float32) {
	if uint(i) >= uint(x.tokens) {
		panic(fmt.Sprintf("attention: token %d of a KV of %d", i, x.tokens))
	}
	if n := x.kvHeads * x.headDim; len(k) != n || v != nil && len(v) != n {
		panic(fmt.Sprintf("attention: key and value of %d and %d numbers, want %d", len(k), len(v), n))
	}
}

// numbers returns head h's keys, from the panel that token j is in to the one that token j+n−1 is in, and its n ≥ 1 values from token j on.
func numbers[T float32 | uint16 | int8](x KV, h, j, n int) (k, v []T) {
	d, padded := x.headDim, roundUp(x.all)
	all := x.mem[x.scaleBytes():]
	values := x.kvHeads * padded * d
	j += x.first
	first := j &^ (panelKeys - 1)
	k = cut[T](all, (h*padded+first)*d, (roundUp(j+n)-first)*d)
	v = cut[T](all, values+(h*x.all+j)*d, n*d)
	return k, v
}

// scales returns the scales that belong to numbers, one for each slot of a key and each value.
func (x KV) scales(h, j, n int) (k, v []float32) {
	padded := roundUp(x.all)
	j += x.first
	first := j &^ (panelKeys - 1)
	return cut[float32](x.mem, h*padded+first, roundUp(j+n)-first), cut[float32](x.mem, x.kvHeads*padded+h*x.all+j, n)
}

func (x KV) scaleBytes() int {
	if x.format != I8 {
		return 0
	}
	return 4 * x.kvHeads * (roundUp(x.all) + x.all)
}

// cut views n numbers of mem from the one with index at.
func cut[T float32 | uint16 | int8](mem []byte, at, n int) []T {
	size := int(unsafe.Sizeof(*new(T)))
	part := mem[at*size : (at+n)*size]
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(part))), n)
}

// Memory returns where n keys of a head from token j on, a multiple of [PanelKeys], and their values are, for bringing it closer.
func (x KV) Memory(h, j, n int) (k, v []byte) {
	d, padded, size := x.headDim, roundUp(x.all), x.format.bytes()
	all := x.mem[x.scaleBytes():]
	j += x.first
	from, values := (h*padded+j)*d*size, (x.kvHeads*padded+h*x.all+j)*d*size
	return all[from:][:roundUp(n)*d*size], all[values:][:n*d*size]
}
