// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gguf

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
)

// Builder collects metadata and tensors and writes them as a GGUF version 3
// file. Keys and tensors are written in the order they were added. The zero
// value is ready for use.
type Builder struct {
	keys      []string
	values    []Value
	tensors   []built
	names     map[string]bool // of tensors
	alignment uint64          // 0: the default
}

type built struct {
	name  string
	typ   Type
	shape []int
	data  []byte
}

// Set adds a metadata value: a number, bool, string, a slice of these, or a
// [Value] of an opened file. Go's int and uint have no kind in the format and
// are refused. The key general.alignment sets the alignment of the tensors,
// which is 32 otherwise.
func (b *Builder) Set(key string, value any) error {
	if err := b.set(key, value); err != nil {
		return fmt.Errorf("gguf: key %q: %w", shorten(key, 96), err)
	}
	return nil
}

func (b *Builder) set(key string, value any) error {
	if len(key) > maxKeyLen {
		return fmt.Errorf("name of %d bytes, at most %d allowed", len(key), maxKeyLen)
	}
	v, err := valueOf(value)
	if err != nil {
		return err
	}
	if slices.Contains(b.keys, key) { // a few dozen
		return errors.New("added twice")
	}
	if key == alignmentKey {
		if b.alignment, err = alignmentOf(v); err != nil {
			return err
		}
	}
	b.keys = append(b.keys, key)
	b.values = append(b.values, v)
	return nil
}

// Add adds a tensor with its data in the format of its type. shape is in GGUF
// order: shape[0] is the row length. data is not copied and must not be changed
// before the file is written.
func (b *Builder) Add(name string, t Type, shape []int, data []byte) error {
	if err := b.add(name, t, shape, data); err != nil {
		return fmt.Errorf("gguf: tensor %q: %w", name, err)
	}
	return nil
}

func (b *Builder) add(name string, t Type, shape []int, data []byte) error {
	if len(name) > maxTensorName {
		return fmt.Errorf("name of %d bytes, at most %d allowed", len(name), maxTensorName)
	}
	if len(shape) > maxDims {
		return fmt.Errorf("%d dimensions, at most %d allowed", len(shape), maxDims)
	}
	l, ok := t.layout()
	if !ok {
		return fmt.Errorf("unknown %s", t)
	}
	dims := make([]uint64, len(shape))
	for d, n := range shape {
		if n <= 0 {
			return fmt.Errorf("dimension %d is %d", d, n)
		}
		dims[d] = uint64(n)
	}
	size, err := l.size(dims)
	if err != nil {
		return err
	}
	if size != uint64(len(data)) {
		return fmt.Errorf("shape %v of %s takes %d bytes, got %d", shape, t, size, len(data))
	}
	if b.names[name] {
		return errors.New("added twice")
	}
	if b.names == nil {
		b.names = make(map[string]bool)
	}
	b.names[name] = true
	b.tensors = append(b.tensors, built{name, t, slices.Clone(shape), data})
	return nil
}

// AddFloat32 adds a tensor of type F32. The values are copied.
func (b *Builder) AddFloat32(name string, shape []int, values []float32) error {
	data := make([]byte, 0, 4*len(values))
	for _, x := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
	}
	return b.Add(name, F32, shape, data)
}

// WriteTo writes the file and returns the number of bytes written.
func (b *Builder) WriteTo(w io.Writer) (int64, error) {
	alignment := uint64(defaultAlignment)
	if b.alignment != 0 {
		alignment = b.alignment
	}
	le := binary.LittleEndian
	head := []byte("GGUF")
	head = le.AppendUint32(head, 3)
	head = le.AppendUint64(head, uint64(len(b.tensors)))
	head = le.AppendUint64(head, uint64(len(b.keys)))
	for i, key := range b.keys {
		head = appendText(head, key)
		head = b.values[i].append(head)
	}
	at := uint64(0)
	for _, t := range b.tensors {
		head = appendText(head, t.name)
		head = le.AppendUint32(head, uint32(len(t.shape)))
		for _, n := range t.shape {
			head = le.AppendUint64(head, uint64(n))
		}
		head = le.AppendUint32(head, uint32(t.typ))
		head = le.AppendUint64(head, at)
		at = alignUp(at+uint64(len(t.data)), alignment)
	}
	c := &counter{w: w}
	buf := bufio.NewWriter(c) // keeps the first error until Flush
	end := uint64(0)
	write := func(p []byte) {
		_, _ = buf.Write(p)
		end += uint64(len(p))
		gap := alignUp(end, alignment) - end
		_, _ = buf.Write(make([]byte, gap))
		end += gap
	}
	write(head)
	for _, t := range b.tensors {
		write(t.data)
	}
	err := buf.Flush()
	return c.n, err
}

// counter counts the bytes that w took.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func appendText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// append writes the value with its kind before it.
func (v Value) append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, uint32(v.kind))
	switch v.kind {
	case KindArray:
		b = le.AppendUint32(b, uint32(v.elem))
		b = le.AppendUint64(b, uint64(v.n))
	case KindString:
		b = le.AppendUint64(b, uint64(len(v.raw)))
	}
	return append(b, v.raw...)
}

// goKinds gives the kind of every Go kind that has one.
var goKinds = map[reflect.Kind]Kind{
	reflect.Uint8: KindUint8, reflect.Int8: KindInt8,
	reflect.Uint16: KindUint16, reflect.Int16: KindInt16,
	reflect.Uint32: KindUint32, reflect.Int32: KindInt32,
	reflect.Uint64: KindUint64, reflect.Int64: KindInt64,
	reflect.Float32: KindFloat32, reflect.Float64: KindFloat64,
	reflect.Bool: KindBool, reflect.String: KindString,
}

// valueOf encodes a Go value.
func valueOf(x any) (Value, error) {
	if v, ok := x.(Value); ok {
		if v.kind == KindUint8 && v.raw == "" {
			return v, errors.New("the zero Value holds nothing")
		}
		return v, nil
	}
	if x == nil {
		return Value{}, errors.New("nil is not a value")
	}
	r := reflect.ValueOf(x)
	t := r.Type()
	if k, ok := goKinds[t.Kind()]; ok {
		if k == KindString {
			return Value{kind: k, raw: r.String()}, nil
		}
		raw, err := binary.Append(nil, binary.LittleEndian, r.Interface())
		return Value{kind: k, raw: string(raw)}, err
	}
	if t.Kind() == reflect.Slice {
		if k, ok := goKinds[t.Elem().Kind()]; ok {
			var raw []byte
			var err error
			if k == KindString {
				for i := range r.Len() {
					raw = appendText(raw, r.Index(i).String())
				}
			} else {
				raw, err = binary.Append(nil, binary.LittleEndian, r.Interface())
			}
			return Value{kind: KindArray, elem: k, n: r.Len(), raw: string(raw)}, err
		}
	}
	return Value{}, fmt.Errorf("%s has no kind in the format", t)
}
