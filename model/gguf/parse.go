// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gguf

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// Limits of the format and of this reader.
const (
	maxKeyLen       = 1<<16 - 1 // by the format
	maxTensorName   = 64        // by the format
	maxDims         = 4         // by ggml
	maxArrayNesting = 4         // no known file nests at all

	defaultAlignment = 32
	minAlignment     = 8
	maxAlignment     = 1 << 20

	alignmentKey = "general.alignment"
)

// The fewest bytes that an item of a counted list can take. A count that the
// bytes left cannot hold is refused before anything is allocated for it.
const (
	minKeyValue   = 8 + 4 + 1     // length of the key, kind, one byte
	minTensorInfo = 8 + 4 + 4 + 8 // length of the name, dims, type, offset
	minString     = 8             // length
	minArray      = 4 + 8         // kind of the elements, length
)

// header is what precedes the tensor data.
type header struct {
	version   uint32
	keys      []string
	values    []Value
	index     map[string]int
	tensors   []entry
	byName    map[string]int
	alignment uint64
	end       int    // bytes used by the header, without padding
	data      uint64 // start of the tensor data
}

// entry is a tensor's entry in the header.
type entry struct {
	name         string
	typ          Type
	shape        []int
	rowLen, rows int
	start, size  uint64 // bytes; start is relative to the tensor data until placed
	startAt      int    // where in the header start is written
}

// parser walks the header. Strings it returns are views of buf.
type parser struct {
	buf string
	pos int

	// What is being read, for errors: a field of the header, or a key or
	// tensor with its name.
	what, name string
}

// parse reads the header at the start of buf. buf may end with the header;
// size is the length of the whole file.
func parse(buf string, size uint64) (*header, error) {
	p := &parser{buf: buf, what: "magic"}
	magic, err := p.take(4)
	if err != nil {
		return nil, err
	}
	if magic != "GGUF" {
		return nil, p.corrupt(0, "not a GGUF file: starts with %q", magic)
	}
	h := &header{}
	p.what = "version"
	if h.version, err = p.u32(); err != nil {
		return nil, err
	}
	switch {
	case h.version == 2 || h.version == 3:
	case h.version != 0 && bits.ReverseBytes32(h.version) <= math.MaxUint16:
		return nil, fmt.Errorf("%w: big-endian file (version %d)", ErrUnsupported, bits.ReverseBytes32(h.version))
	default:
		return nil, fmt.Errorf("%w: version %d (this reader knows 2 and 3)", ErrUnsupported, h.version)
	}
	p.what = "tensor count"
	nt, err := p.u64()
	if err != nil {
		return nil, err
	}
	if err := p.fits(nt, minTensorInfo); err != nil {
		return nil, err
	}
	p.what = "metadata count"
	nkv, err := p.u64()
	if err != nil {
		return nil, err
	}
	if err := p.fits(nkv, minKeyValue); err != nil {
		return nil, err
	}
	if err := p.metadata(h, int(nkv)); err != nil {
		return nil, err
	}
	p.what, p.name = "tensor count", ""
	if err := p.fits(nt, minTensorInfo); err != nil {
		return nil, err
	}
	if err := p.tensorInfos(h, int(nt)); err != nil {
		return nil, err
	}
	h.end = p.pos
	h.data = alignUp(uint64(p.pos), h.alignment)
	return h, h.place(size)
}

func (p *parser) metadata(h *header, n int) error {
	h.index = make(map[string]int)
	h.alignment = defaultAlignment
	for i := range n {
		at := p.pos
		key, err := p.id("key", i, maxKeyLen)
		if err != nil {
			return err
		}
		if _, dup := h.index[key]; dup {
			return p.corrupt(at, "appears twice")
		}
		k, err := p.u32()
		if err != nil {
			return err
		}
		at = p.pos
		v, err := p.value(Kind(k), 0)
		if err != nil {
			return err
		}
		if key == alignmentKey {
			if h.alignment, err = alignmentOf(v); err != nil {
				return p.corrupt(at, "%v", err)
			}
		}
		h.index[key] = len(h.keys)
		h.keys = append(h.keys, key)
		h.values = append(h.values, v)
	}
	return nil
}

func (p *parser) tensorInfos(h *header, n int) error {
	h.byName = make(map[string]int)
	for i := range n {
		at := p.pos
		name, err := p.id("tensor", i, maxTensorName)
		if err != nil {
			return err
		}
		if _, dup := h.byName[name]; dup {
			return p.corrupt(at, "appears twice")
		}
		e := entry{name: name}
		if err := p.tensorInfo(&e); err != nil {
			return err
		}
		h.byName[name] = len(h.tensors)
		h.tensors = append(h.tensors, e)
	}
	return nil
}

// tensorInfo reads all but the name of a tensor's entry.
func (p *parser) tensorInfo(e *entry) error {
	at := p.pos
	nd, err := p.u32()
	if err != nil {
		return err
	}
	if nd > maxDims {
		return p.corrupt(at, "%d dimensions, at most %d allowed", nd, maxDims)
	}
	raw, err := p.take(8 * int(nd))
	if err != nil {
		return err
	}
	var dims [maxDims]uint64
	for d := range nd {
		dims[d] = le64(raw[8*d:])
	}
	typ, err := p.u32()
	if err != nil {
		return err
	}
	e.typ = Type(typ)
	l, ok := e.typ.layout()
	if !ok {
		return fmt.Errorf("%w: byte %d: tensor %q is of %s, unknown to this reader", ErrUnsupported, p.pos-4, e.name, e.typ)
	}
	if e.size, err = l.size(dims[:nd]); err != nil {
		return p.corrupt(at, "%v", err)
	}
	e.shape = make([]int, nd)
	e.rowLen, e.rows = 1, 1
	for d := range e.shape {
		n := int(dims[d])
		e.shape[d] = n
		if d == 0 {
			e.rowLen = n
		} else {
			e.rows *= n
		}
	}
	e.startAt = p.pos
	e.start, err = p.u64()
	return err
}

// place checks that the tensors lie inside the file, aligned and apart, and
// makes their offsets absolute.
func (h *header) place(size uint64) error {
	order := make([]*entry, len(h.tensors))
	for i := range h.tensors {
		e := &h.tensors[i]
		if e.start%h.alignment != 0 {
			return corrupt(e.startAt, "tensor", e.name, "offset %d is not a multiple of the alignment %d", e.start, h.alignment)
		}
		if h.data > size || e.start > size-h.data || e.size > size-h.data-e.start {
			return corrupt(e.startAt, "tensor", e.name, "%d bytes at offset %d of the data, which starts at %d, reach past the end of the file at %d",
				e.size, e.start, h.data, size)
		}
		e.start += h.data
		order[i] = e
	}
	slices.SortStableFunc(order, func(a, b *entry) int { return cmp.Compare(a.start, b.start) })
	for i := 1; i < len(order); i++ {
		prev, e := order[i-1], order[i]
		if e.start < prev.start+prev.size {
			return corrupt(e.startAt, "tensor", e.name, "overlaps tensor %q", prev.name)
		}
	}
	return nil
}

// value reads a value of kind k; depth counts the arrays around it.
func (p *parser) value(k Kind, depth int) (Value, error) {
	if !k.known() {
		return Value{}, p.corrupt(p.pos-4, "unknown value %s", k)
	}
	switch k {
	case KindString:
		s, err := p.text()
		return Value{kind: k, raw: s}, err
	case KindArray:
		return p.array(depth)
	}
	raw, err := p.take(kinds[k].size)
	if err == nil && k == KindBool && raw[0] > 1 {
		err = p.corrupt(p.pos-1, "bool has the value %d", raw[0])
	}
	return Value{kind: k, raw: raw}, err
}

func (p *parser) array(depth int) (Value, error) {
	if depth == maxArrayNesting {
		return Value{}, p.corrupt(p.pos, "arrays nested more than %d deep", maxArrayNesting)
	}
	e, err := p.u32()
	if err != nil {
		return Value{}, err
	}
	elem := Kind(e)
	if !elem.known() {
		return Value{}, p.corrupt(p.pos-4, "array of unknown %s", elem)
	}
	n, err := p.u64()
	if err != nil {
		return Value{}, err
	}
	each := kinds[elem].size
	switch elem {
	case KindString:
		each = minString
	case KindArray:
		each = minArray
	}
	if err := p.fits(n, each); err != nil {
		return Value{}, err
	}
	start := p.pos
	switch elem {
	case KindString:
		for range int(n) {
			if _, err := p.text(); err != nil {
				return Value{}, err
			}
		}
	case KindArray:
		for range int(n) {
			if _, err := p.array(depth + 1); err != nil {
				return Value{}, err
			}
		}
	default:
		p.pos += int(n) * each
	}
	v := Value{kind: KindArray, elem: elem, n: int(n), raw: p.buf[start:p.pos]}
	if elem == KindBool {
		for i := range v.raw {
			if v.raw[i] > 1 {
				return Value{}, p.corrupt(start+i, "bool has the value %d", v.raw[i])
			}
		}
	}
	return v, nil
}

// alignmentOf returns the alignment that a value sets.
func alignmentOf(v Value) (uint64, error) {
	a, ok := v.uint()
	if !ok || v.kind != KindUint32 || bits.OnesCount64(a) != 1 || a < minAlignment || a > maxAlignment {
		return 0, fmt.Errorf("alignment %s %v is not a uint32 power of two in [%d, %d]", v.kind, v, minAlignment, maxAlignment)
	}
	return a, nil
}

func alignUp(n, alignment uint64) uint64 { return (n + alignment - 1) &^ (alignment - 1) }
