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
	r.turn(x, r.headDim, x, heads, pos, 1, r.mag, 1)
}

// RotateTo turns the heads of x, any number of vectors [HeadDim] end to end, to position pos as Rotate does, multiplies them by scale, and
// writes head h to dst[h·stride:]. It is what attention does to the queries of one part. dst may be x if stride is HeadDim. It panics if x is
// not whole heads or dst has no room for them.
func (r *RoPE) RotateTo(dst []float32, stride int, x []float32, pos int, scale float32) {
	heads := len(x) / r.headDim
	r.check(x, heads)
	if need := (heads-1)*stride + r.headDim; heads > 0 && (stride < r.headDim || len(dst) < need) {
		panic(fmt.Sprintf("posenc: %d heads of %d dimensions do not fit a slice of length %d at a stride of %d", heads, r.headDim, len(dst), stride))
	}
	r.turn(dst, stride, x, heads, pos, 1, r.mag, scale)
}

// Shift moves the rotated vector x [HeadDim] in place from any position n to n+delta: a rotation without magnitude.
func (r *RoPE) Shift(x []float32, delta int) {
	r.check(x, 1)
	r.turn(x, r.headDim, x, 1, delta, 1, 1, 1)
}

// Unrotate is the inverse of Rotate up to rounding: it takes x [HeadDim] in place from position pos back to the vector
// before Rotate.
func (r *RoPE) Unrotate(x []float32, pos int) {
	r.check(x, 1)
	r.turn(x, r.headDim, x, 1, pos, -1, r.invMag, 1)
}

func (r *RoPE) check(x []float32, heads int) {
	if heads < 0 || len(x) != heads*r.headDim {
		panic(fmt.Sprintf("posenc: vector of length %d, want %d heads of %d dimensions", len(x), heads, r.headDim))
	}
}

// turn writes head h of x, rotated by sign·pos (sign is 1 or −1), with the rotated dimensions multiplied by mag and then all of them by scale,
// to dst[h·stride:]. Every operation rounds, so that the table and turnFar agree to the bit on every architecture.
func (r *RoPE) turn(dst []float32, stride int, x []float32, heads, pos int, sign, mag, scale float32) {
	if heads == 0 {
		return
	}
	still := 2 * r.half // dimensions from here on are not turned
	if pos == 0 && mag == 1 {
		still = 0
	}
	if still < r.headDim && (scale != 1 || &dst[0] != &x[0]) {
		for h := range heads {
			multiply(dst[h*stride+still:], x[h*r.headDim+still:(h+1)*r.headDim], scale)
		}
	}
	if still == 0 {
		return
	}
	at := pos
	if pos < 0 {
		sign, at = -sign, -pos
	}
	if uint(at) >= tableSize { // also the one pos that has no negative
		r.turnFar(dst, stride, x, heads, math.Abs(float64(pos)), sign, mag, scale)
		return
	}
	row := r.chunk(at / chunkSize)[at%chunkSize*2*r.half:][:2*r.half]
	if r.pairing == Interleaved {
		vec.RotateInterleaved(dst, x, heads, stride, r.headDim, row[:r.half], row[r.half:], mag, sign*mag, scale)
	} else {
		vec.RotateHalfSplit(dst, x, heads, stride, r.headDim, row[:r.half], row[r.half:], mag, sign*mag, scale)
	}
}

func multiply(dst, x []float32, scale float32) {
	dst = dst[:len(x)]
	for i, v := range x {
		dst[i] = v * scale
	}
}

// turnFar is turn of the rotated dimensions without the table, for pos ≥ 0.
func (r *RoPE) turnFar(dst []float32, stride int, x []float32, heads int, pos float64, sign, mag, scale float32) {
	for i, f := range r.freq {
		s, c := math.Sincos(pos * f)
		si, co := float32(s)*(sign*mag), float32(c)*mag
		p, q := 2*i, 2*i+1
		if r.pairing == HalfSplit {
			p, q = i, i+r.half
		}
		for h := range heads {
			v, out := x[h*r.headDim:], dst[h*stride:]
			a, b := v[p], v[q]
			out[p] = (float32(a*co) - float32(b*si)) * scale
			out[q] = (float32(a*si) + float32(b*co)) * scale
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
