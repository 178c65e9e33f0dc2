// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync/atomic"

	"github.com/graphkv/graphkv/internal/vec"
)

// Pairing says which two dimensions of a head RoPE turns together.
type Pairing uint8

const (
	// Interleaved turns (0,1), (2,3), …: the RoPE paper (Su et al., 2021), Llama's own code and GGUF files of architecture
	// "llama".
	Interleaved Pairing = iota
	// HalfSplit turns (0,d/2), (1,d/2+1), …: Hugging Face, and GGUF files of architectures such as "qwen2" and "gemma".
	HalfSplit
)

func (p Pairing) String() string {
	switch p {
	case Interleaved:
		return "interleaved"
	case HalfSplit:
		return "half-split"
	}
	return fmt.Sprintf("Pairing(%d)", uint8(p))
}

// Config are the parameters of a rotary embedding.
type Config struct {
	HeadDim   int     // dimensions of a head
	RotaryDim int     // the first RotaryDim dimensions are turned, the others pass through; even; 0 stands for HeadDim
	Base      float64 // rope_theta, greater than 1
	Pairing   Pairing
	Scaling   Scaling
}

// Positions up to ±tableSize come from a table of chunks, each filled when it is first used; farther ones are computed on
// the spot. The table of a head of 128 dimensions can thus grow to 64 MiB, 512 bytes per position.
const (
	chunkSize = 256
	tableSize = 1 << 17
)

// A chunk holds cos and sin of chunkSize positions: [chunkSize][2][half], cos first.
type chunk []float32

// RoPE turns head vectors to positions. Angles are computed in float64 and rounded once. It is safe for concurrent use:
// chunks of the table are immutable and published atomically.
type RoPE struct {
	headDim, half int
	pairing       Pairing
	magnitude     float64
	mag, invMag   float32
	freq          []float64
	fingerprint   []byte
	chunks        [tableSize / chunkSize]atomic.Pointer[chunk]
}

// NewRoPE checks the parameters and returns the embedding. Scalings that depend on the run-time length give an error that
// wraps ErrDynamicScaling.
func NewRoPE(c Config) (*RoPE, error) {
	if c.RotaryDim == 0 {
		c.RotaryDim = c.HeadDim
	}
	switch {
	case c.HeadDim < 1 || c.HeadDim > 1<<16:
		return nil, fmt.Errorf("posenc: head dimension %d, want 1 to %d", c.HeadDim, 1<<16)
	case c.RotaryDim < 2 || c.RotaryDim%2 != 0 || c.RotaryDim > c.HeadDim:
		return nil, fmt.Errorf("posenc: rotary dimension %d, want an even number from 2 to the head dimension %d", c.RotaryDim, c.HeadDim)
	case !(c.Base > 1) || math.IsInf(c.Base, 0):
		return nil, fmt.Errorf("posenc: RoPE base %v, want a finite number greater than 1", c.Base)
	case c.Pairing > HalfSplit:
		return nil, fmt.Errorf("posenc: unknown pairing %d", c.Pairing)
	}
	s, err := c.Scaling.normalize(c.RotaryDim / 2)
	if err != nil {
		return nil, fmt.Errorf("posenc: %w", err)
	}
	c.Scaling = s
	r := &RoPE{
		headDim:     c.HeadDim,
		half:        c.RotaryDim / 2,
		pairing:     c.Pairing,
		magnitude:   orDefault(s.AttentionFactor, 1),
		freq:        s.frequencies(c.Base, c.RotaryDim),
		fingerprint: c.fingerprint(),
	}
	r.mag, r.invMag = float32(r.magnitude), float32(1/r.magnitude)
	return r, nil
}

// HeadDim returns the number of dimensions of a head.
func (r *RoPE) HeadDim() int { return r.headDim }

// Magnitude returns the factor by which Rotate lengthens the rotated dimensions; 1 unless YaRN.
func (r *RoPE) Magnitude() float64 { return r.magnitude }

// Frequencies returns the frequencies after scaling, in radians per position, as a new slice.
func (r *RoPE) Frequencies() []float64 { return append([]float64(nil), r.freq...) }

// Fingerprint returns canonical bytes of the parameters: equal for parameters that mean the same (defaults given or left
// out), different for parameters that mean something else. Node keys contain it. The slice is new.
func (r *RoPE) Fingerprint() []byte { return append([]byte(nil), r.fingerprint...) }

// Rotate turns x [HeadDim] in place to position pos, which may be negative, and applies the magnitude. It panics if the
// length of x is wrong.
func (r *RoPE) Rotate(x []float32, pos int) { r.RotateHeads(x, 1, pos) }

// RotateHeads turns x [heads][HeadDim] in place to position pos. It panics if the length of x is wrong.
func (r *RoPE) RotateHeads(x []float32, heads, pos int) {
	r.check(x, heads)
	r.turn(x, x, r.place(1, heads), pos, 1, r.mag, 1)
}

// RotateTokens turns x [tokens][heads][HeadDim] in place, token i to position pos+i. It panics if the length of x is wrong.
func (r *RoPE) RotateTokens(x []float32, heads, pos int) {
	tokens := 0
	if heads > 0 {
		tokens = len(x) / (heads * r.headDim)
	}
	r.check(x, tokens*heads)
	r.turn(x, x, r.place(tokens, heads), pos, 1, r.mag, 1)
}

// Place says where the heads of some rows are, and where they go.
type Place struct {
	Rows, Heads int
	NextRow     int // from one row of the source to the next; the heads of a row stand end to end
	Stride      int // from one head of the destination to the next, those of a row before those of the next
}

// RotateTo turns rows of heads [HeadDim] of x, row i to position pos+i as Rotate does, multiplies them by scale, and writes head h of row i to
// dst[(i·Heads+h)·Stride:]. It is what attention does to the queries of one part. dst may be x if heads stay where they are. It panics if x
// or dst are too short.
func (r *RoPE) RotateTo(dst, x []float32, p Place, pos int, scale float32) {
	if p.Rows <= 0 || p.Heads <= 0 {
		return
	}
	if need := (p.Rows-1)*p.NextRow + p.Heads*r.headDim; len(x) < need || p.Rows > 1 && p.NextRow < p.Heads*r.headDim {
		panic(fmt.Sprintf("posenc: slice of length %d for %d rows of %d heads of %d dimensions, %d apart", len(x), p.Rows, p.Heads, r.headDim, p.NextRow))
	}
	if need := (p.Rows*p.Heads-1)*p.Stride + r.headDim; p.Stride < r.headDim || len(dst) < need {
		panic(fmt.Sprintf("posenc: %d heads of %d dimensions do not fit a slice of length %d at a stride of %d", p.Rows*p.Heads, r.headDim, len(dst), p.Stride))
	}
	r.turn(dst, x, p, pos, 1, r.mag, scale)
}

// Shift moves the rotated vector x [HeadDim] in place from any position n to n+delta: a rotation without magnitude.
func (r *RoPE) Shift(x []float32, delta int) {
	r.check(x, 1)
	r.turn(x, x, r.place(1, 1), delta, 1, 1, 1)
}

// Unrotate is the inverse of Rotate up to rounding: it takes x [HeadDim] in place from position pos back to the vector
// before Rotate.
func (r *RoPE) Unrotate(x []float32, pos int) {
	r.check(x, 1)
	r.turn(x, x, r.place(1, 1), pos, -1, r.invMag, 1)
}

// UnrotateTokens is the inverse of RotateTokens up to rounding. It panics if the length of x is wrong.
func (r *RoPE) UnrotateTokens(x []float32, heads, pos int) {
	tokens := 0
	if heads > 0 {
		tokens = len(x) / (heads * r.headDim)
	}
	r.check(x, tokens*heads)
	r.turn(x, x, r.place(tokens, heads), pos, -1, r.invMag, 1)
}

func (r *RoPE) check(x []float32, heads int) {
	if heads < 0 || len(x) != heads*r.headDim {
		panic(fmt.Sprintf("posenc: vector of length %d, want %d heads of %d dimensions", len(x), heads, r.headDim))
	}
}

// place is that of heads end to end.
func (r *RoPE) place(rows, heads int) Place { return Place{rows, heads, heads * r.headDim, r.headDim} }

// turn writes the heads of x, those of row i rotated by sign·(pos+i) (sign is 1 or −1), with the rotated dimensions multiplied by mag and then
// all of them by scale, to dst. Every operation rounds, so that the table and turnFar agree to the bit on every architecture.
func (r *RoPE) turn(dst, x []float32, p Place, pos int, sign, mag, scale float32) {
	if p.Heads == 0 {
		return
	}
	for p.Rows > 0 {
		n := 1
		switch at := max(pos, -pos); {
		case pos == 0 && mag == 1:
			r.pass(dst, x, p, 0, scale)
		case uint(at) >= tableSize: // also the one pos that has no negative
			r.pass(dst, x, p, 2*r.half, scale)
			r.turnFar(dst, x, p, math.Abs(float64(pos)), float32(math.Copysign(1, float64(pos)))*sign, mag, scale)
		default:
			n = r.turnNear(dst, x, p, pos, sign, mag, scale)
		}
		if p.Rows -= n; p.Rows > 0 {
			x, dst, pos = x[n*p.NextRow:], dst[n*p.Heads*p.Stride:], pos+n
		}
	}
}

// turnNear is turn of as many rows as have their positions in one chunk of the table, on the same side of 0, and returns their number.
func (r *RoPE) turnNear(dst, x []float32, p Place, pos int, sign, mag, scale float32) int {
	at, step := pos, 2*r.half
	left := chunkSize - pos%chunkSize
	if pos < 0 {
		at, step, sign = -pos, -step, -sign
		left = min(at%chunkSize+1, at) // down to −1
	}
	p.Rows = min(p.Rows, left)
	for i := 0; 2*r.half < r.headDim && i < p.Rows; i++ {
		r.pass(dst[i*p.Heads*p.Stride:], x[i*p.NextRow:], p, 2*r.half, scale)
	}
	rows := vec.Rows{
		Rows: p.Rows, Heads: p.Heads, Dim: r.headDim, Pairs: r.half, NextRow: p.NextRow, Stride: p.Stride,
		Table: r.chunk(at / chunkSize), Position: at % chunkSize * 2 * r.half, NextPosition: step,
		CosFactor: mag, SinFactor: sign * mag, Scale: scale,
	}
	if r.pairing == Interleaved {
		vec.RotateInterleaved(dst, x, &rows)
	} else {
		vec.RotateHalfSplit(dst, x, &rows)
	}
	return p.Rows
}

// pass multiplies the dimensions of one row's heads from first on, which are not turned, by scale.
func (r *RoPE) pass(dst, x []float32, p Place, first int, scale float32) {
	if first == r.headDim || scale == 1 && &dst[0] == &x[0] {
		return
	}
	for h := range p.Heads {
		multiply(dst[h*p.Stride+first:], x[h*r.headDim+first:(h+1)*r.headDim], scale)
	}
}

func multiply(dst, x []float32, scale float32) {
	dst = dst[:len(x)]
	for i, v := range x {
		dst[i] = v * scale
	}
}

// turnFar is turn of one row's rotated dimensions without the table, for pos ≥ 0.
func (r *RoPE) turnFar(dst, x []float32, p Place, pos float64, sign, mag, scale float32) {
	for i, f := range r.freq {
		s, c := math.Sincos(pos * f)
		si, co := float32(s)*(sign*mag), float32(c)*mag
		one, two := 2*i, 2*i+1
		if r.pairing == HalfSplit {
			one, two = i, i+r.half
		}
		for h := range p.Heads {
			v, out := x[h*r.headDim:], dst[h*p.Stride:]
			a, b := v[one], v[two]
			out[one] = (float32(a*co) - float32(b*si)) * scale
			out[two] = (float32(a*si) + float32(b*co)) * scale
		}
	}
}

// chunk returns chunk n, filling it on first use. Two goroutines may fill the same chunk at once; one of the equal copies
// is kept.
func (r *RoPE) chunk(n int) chunk {
	if c := r.chunks[n].Load(); c != nil {
		return *c
	}
	return r.fill(n)
}

func (r *RoPE) fill(n int) chunk {
	c := make(chunk, chunkSize*2*r.half)
	for p := range chunkSize {
		cos, sin := c[p*2*r.half:][:r.half], c[(p*2+1)*r.half:][:r.half]
		for i, f := range r.freq {
			s, co := math.Sincos(float64(n*chunkSize+p) * f)
			cos[i], sin[i] = float32(co), float32(s)
		}
	}
	r.chunks[n].CompareAndSwap(nil, &c)
	return *r.chunks[n].Load()
}

// fingerprint encodes a normalized config: a version byte, then every field with a fixed width, then the factors.
func (c Config) fingerprint() []byte {
	const version = 1
	s := c.Scaling
	b := []byte{version, byte(c.Pairing), byte(len(s.Kind))}
	b = append(b, s.Kind...)
	for _, v := range []int{c.HeadDim, c.RotaryDim, s.OriginalContext, len(s.FreqFactors)} {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	for _, v := range []float64{c.Base, s.Factor, s.LowFreqFactor, s.HighFreqFactor, s.BetaFast, s.BetaSlow, s.AttentionFactor} {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	truncate := byte(1)
	if s.NoTruncate {
		truncate = 0
	}
	b = append(b, truncate)
	for _, f := range s.FreqFactors {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return b
}
