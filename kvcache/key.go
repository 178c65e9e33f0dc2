// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"math"
	"slices"
	"sync"
)

// Key names the KV of one node. It is a SHA-256 digest; see [Scope.Key].
type Key [32]byte

// String returns the key in lower-case hexadecimal.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// Source is one source of a node as the node sees it.
type Source struct {
	Key   Key       // the source's own key
	Base  int       // base position of the source minus base position of the node, in tokens
	Scale float32   // multiplies the attention scores of this edge; 0 and 1 are neutral
	Bias  []float32 // [Heads] added to the scaled scores; nil and all zeros are neutral
	Power float32   // of the softmax over the sources of this power, see [posenc.Score]; 0 and 1 are neutral
	// Ranked sources have no place of their own, see [posenc.Seen]; Base is then that of where they all start.
	Ranked bool
}

// SourceError says which number of a source cannot be used.
type SourceError struct {
	Index int     // place of the source in the list given to Key; −1 when validated alone
	Head  int     // head of the offending bias; −1 if it is the scale, −2 if it is the power
	Value float32 // the offending number
}

func (e *SourceError) Error() string {
	who := "source"
	if e.Index >= 0 {
		who = fmt.Sprintf("source %d", e.Index)
	}
	if e.Head >= 0 {
		return fmt.Sprintf("kvcache: %s: bias of head %d is %v, must be finite or -Inf", who, e.Head, e.Value)
	}
	if e.Head == powerHead {
		return fmt.Sprintf("kvcache: %s: power is %v, must be finite and above 0", who, e.Value)
	}
	return fmt.Sprintf("kvcache: %s: scale is %v, must be finite", who, e.Value)
}

// powerHead stands for the power in SourceError.Head.
const powerHead = -2

// Validate returns a *[SourceError] if the scale or the power is NaN or infinite, the
// power negative, or a bias NaN or +Inf. A bias of −Inf is allowed: it hides the source from one head.
func (a Source) Validate() error {
	if e := a.check(-1); e != nil {
		return e
	}
	return nil
}

func (a *Source) check(index int) *SourceError {
	if s := float64(a.Scale); math.IsNaN(s) || math.IsInf(s, 0) {
		return &SourceError{Index: index, Head: -1, Value: a.Scale}
	}
	if p := float64(a.Power); math.IsNaN(p) || math.IsInf(p, 0) || p < 0 {
		return &SourceError{Index: index, Head: powerHead, Value: a.Power}
	}
	for h, b := range a.Bias {
		if b := float64(b); math.IsNaN(b) || math.IsInf(b, 1) {
			return &SourceError{Index: index, Head: h, Value: float32(b)}
		}
	}
	return nil
}

// scale returns the scale with the neutral 0 written as 1.
func (a *Source) scale() float32 {
	if a.Scale == 0 {
		return 1
	}
	return a.Scale
}

// power returns the power with the neutral 0 written as 1.
func (a *Source) power() float32 {
	if a.Power == 0 {
		return 1
	}
	return a.Power
}

// bias returns the bias, or nil if it is neutral.
func (a *Source) bias() []float32 {
	for _, b := range a.Bias {
		if b != 0 {
			return a.Bias
		}
	}
	return nil
}

// Compare puts sources in canonical order: by Power, Base, Key, Scale, Bias (a prefix
// first, then head by head), ranked ones last. It is also the order in which their parts are
// summed. Compare is 0 exactly when the two sources have the same effect: neutral
// scales are equal, so are neutral biases, and −0 equals 0.
func (a Source) Compare(b Source) int {
	if c := cmp.Compare(a.power(), b.power()); c != 0 {
		return c
	}
	if c := cmp.Compare(a.Base, b.Base); c != 0 {
		return c
	}
	if c := bytes.Compare(a.Key[:], b.Key[:]); c != 0 {
		return c
	}
	if c := cmp.Compare(a.scale(), b.scale()); c != 0 {
		return c
	}
	if c := slices.Compare(a.bias(), b.bias()); c != 0 {
		return c
	}
	switch {
	case a.Ranked == b.Ranked:
		return 0
	case b.Ranked:
		return -1
	}
	return 1
}

// ScopeConfig is what all nodes of one deployment share.
type ScopeConfig struct {
	Model     [32]byte // fingerprint of the model's weights and metadata
	Encoding  string   // form the KV is stored in, e.g. "f32"
	RoPE      []byte   // canonical bytes of the rotary embedding's parameters
	Namespace string   // separates tenants; nodes of different namespaces never share KV
}

// Scope makes node keys. It is immutable and safe for concurrent use. Make it
// with [NewScope]: the zero Scope belongs to no model and its Key panics.
type Scope struct {
	id [32]byte
}

// ID returns the scope's identity, see [NewScope].
func (s *Scope) ID() [32]byte { return s.id }

// The domain strings carry the version of the encoding. Any change to the bytes
// that are hashed needs a new version.
const (
	scopeDomain = "graphkv/kvcache scope v1"
	nodeDomain  = "graphkv/kvcache node v1"
	formDomain  = "graphkv/kvcache node v1 in a form"
)

// NewScope returns the scope of c. Its identity is the SHA-256 of
//
//	str("graphkv/kvcache scope v1") ‖ Model ‖ str(Encoding) ‖ str(RoPE) ‖ str(Namespace)
//
// where str is the length in bytes as a little-endian uint64 and the bytes.
func NewScope(c ScopeConfig) *Scope {
	b := appendString(nil, scopeDomain)
	b = append(b, c.Model[:]...)
	b = appendString(b, c.Encoding)
	b = appendString(b, c.RoPE)
	b = appendString(b, c.Namespace)
	return &Scope{id: sha256.Sum256(b)}
}

func appendString[S string | []byte](b []byte, s S) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(len(s)))
	return append(b, s...)
}

// Key returns the key of the node with these tokens and sources. The order in
// which sources are given does not matter: they are sorted by [Source.Compare] on
// a copy. Equal sources count as often as they are listed.
//
// The key is the SHA-256 of
//
//	str("graphkv/kvcache node v1") ‖ scope identity [32]byte
//	‖ u64(len(tokens)) ‖ i32(token)…
//	‖ u64(len(sources)) ‖ ( i64(Base) ‖ Key ‖ f32(Scale) ‖ u64(len(Bias)) ‖ f32(bias)… )…
//
// where a source with a power has 2⁶³ added to len(Bias), and f32(Power) after it, and a
// ranked one has 2⁶² added. All numbers are little-endian, f32 is the IEEE 754 bit pattern. A scale of 0
// is written as 1, a neutral bias with length 0 and a bias of −0 as 0.
//
// Key panics with a *[SourceError] if [Source.Validate] refuses a source; callers
// with numbers from outside validate them first. It does not allocate in steady
// state and is safe for concurrent use.
func (s *Scope) Key(tokens []int32, sources []Source) Key { return s.KeyAs("", tokens, sources) }

// KeyAs is Key for a node that is not encoded causally, token after token: form names
// how. Its key begins with
//
//	str("graphkv/kvcache node v1 in a form") ‖ str(form)
//
// instead of the domain of Key, which an empty form stands for.
func (s *Scope) KeyAs(form string, tokens []int32, sources []Source) Key {
	if s.id == [32]byte{} {
		panic("kvcache: Key of a zero Scope; use NewScope")
	}
	for i := range sources {
		if e := sources[i].check(i); e != nil {
			panic(e)
		}
	}
	e := encoders.Get().(*encoder)
	if form == "" {
		e.bytes(nodePrefix)
	} else {
		e.bytes(formPrefix)
		e.uint64(uint64(len(form)))
		e.string(form)
	}
	e.bytes(s.id[:])
	e.uint64(uint64(len(tokens)))
	for _, t := range tokens {
		e.uint32(uint32(t))
	}
	e.uint64(uint64(len(sources)))
	if !slices.IsSortedFunc(sources, Source.Compare) {
		e.sources = append(e.sources, sources...)
		sources = e.sources
		slices.SortFunc(sources, Source.Compare)
	}
	for i := range sources {
		e.source(&sources[i])
	}
	k := e.sum()
	clear(e.sources) // the pool must not keep the callers' biases alive
	e.sources = e.sources[:0]
	encoders.Put(e)
	return k
}

var nodePrefix, formPrefix = appendString(nil, nodeDomain), appendString(nil, formDomain)

var encoders = sync.Pool{New: func() any {
	return &encoder{h: sha256.New(), buf: make([]byte, 0, 4096)}
}}

// encoder feeds the canonical bytes to SHA-256 through a small buffer.
type encoder struct {
	h       hash.Hash
	buf     []byte
	sources []Source
}

func (e *encoder) room(n int) {
	if cap(e.buf)-len(e.buf) < n {
		e.h.Write(e.buf)
		e.buf = e.buf[:0]
	}
}

// bytes appends b, which must be shorter than the buffer.
func (e *encoder) bytes(b []byte) {
	e.room(len(b))
	e.buf = append(e.buf, b...)
}

// string appends s, of any length.
func (e *encoder) string(s string) {
	for len(s) > 0 {
		e.room(1)
		n := copy(e.buf[len(e.buf):cap(e.buf)], s)
		e.buf, s = e.buf[:len(e.buf)+n], s[n:]
	}
}

func (e *encoder) uint32(v uint32) {
	e.room(4)
	e.buf = binary.LittleEndian.AppendUint32(e.buf, v)
}

func (e *encoder) uint64(v uint64) {
	e.room(8)
	e.buf = binary.LittleEndian.AppendUint64(e.buf, v)
}

func (e *encoder) source(a *Source) {
	e.uint64(uint64(int64(a.Base)))
	e.bytes(a.Key[:])
	e.uint32(math.Float32bits(a.scale()))
	bias, power := a.bias(), a.power()
	head := uint64(len(bias))
	if a.Ranked {
		head |= 1 << 62
	}
	if power == 1 {
		e.uint64(head)
	} else {
		e.uint64(head | 1<<63)
		e.uint32(math.Float32bits(power))
	}
	for _, b := range bias {
		if b == 0 {
			b = 0 // −0 too
		}
		e.uint32(math.Float32bits(b))
	}
}

// sum returns the digest and makes e ready for the next node.
func (e *encoder) sum() (k Key) {
	e.h.Write(e.buf)
	copy(k[:], e.h.Sum(e.buf[:0]))
	e.h.Reset()
	e.buf = e.buf[:0]
	return k
}
