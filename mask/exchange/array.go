// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// dtype is the type of an array's elements.
type dtype uint8

const (
	boolean dtype = iota
	uint8s
	int8s
	int16s
	int32s
	int64s
	float16s
	bfloat16s
	float32s
	float64s
	text3 // three bytes of ASCII
)

// dtypes lists each type's size and its names in NumPy's and in safetensors' headers. NumPy has no bfloat16, safetensors no text.
var dtypes = [...]struct {
	size             int
	npy, safetensors string
}{
	boolean:   {1, "|b1", "BOOL"},
	uint8s:    {1, "|u1", "U8"},
	int8s:     {1, "|i1", "I8"},
	int16s:    {2, "<i2", "I16"},
	int32s:    {4, "<i4", "I32"},
	int64s:    {8, "<i8", "I64"},
	float16s:  {2, "<f2", "F16"},
	bfloat16s: {2, "", "BF16"},
	float32s:  {4, "<f4", "F32"},
	float64s:  {8, "<f8", "F64"},
	text3:     {3, "|S3", ""},
}

func (d dtype) size() int { return dtypes[d].size }

func (d dtype) float() bool { return d >= float16s && d <= float64s }

func (d dtype) String() string { return cmp.Or(dtypes[d].npy, dtypes[d].safetensors) }

// array is a named array in C order, little endian. One to be written has write, which streams exactly its bytes; one that
// was read has data.
type array struct {
	name  string
	dtype dtype
	shape []int
	write func(w *bufio.Writer) error
	data  []byte
}

// bytes returns the size of the elements, or an error if it does not fit an int64.
func (a *array) bytes() (int64, error) { return sizeOf(a.name, a.dtype, a.shape) }

func sizeOf(name string, d dtype, shape []int) (int64, error) {
	n := int64(d.size())
	for _, s := range shape {
		if s < 0 {
			return 0, fmt.Errorf("array %q has shape %v", name, shape)
		}
		if s > 0 && n > math.MaxInt64/int64(s) {
			return 0, fmt.Errorf("array %q of shape %v has too many elements", name, shape)
		}
		n *= int64(s)
	}
	return n, nil
}

// fixed is an integer or a number of the types that arrays hold.
type fixed interface {
	~uint8 | ~int32 | ~int64 | ~float32
}

// ofSlice is an array of x; shape is its length if none is given.
func ofSlice[T fixed](name string, d dtype, x []T, shape ...int) array {
	if len(shape) == 0 {
		shape = []int{len(x)}
	}
	return array{name: name, dtype: d, shape: shape, write: func(w *bufio.Writer) error { return writeSlice(w, x) }}
}

// scalar is an array without dimensions.
func scalar(name string, x int64) array {
	return array{name: name, dtype: int64s, shape: []int{}, write: func(w *bufio.Writer) error { return writeSlice(w, []int64{x}) }}
}

// writeSlice writes x piece by piece.
func writeSlice[T fixed](w *bufio.Writer, x []T) error {
	const piece = 4096
	buf := make([]byte, 0, 8*piece)
	for len(x) > 0 {
		n := min(len(x), piece)
		var err error
		if buf, err = binary.Append(buf[:0], binary.LittleEndian, x[:n]); err != nil {
			return err
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
		x = x[n:]
	}
	return nil
}

// writeArray writes an array's bytes and checks their number, which the header has announced.
func writeArray(w io.Writer, a *array) error {
	want, err := a.bytes()
	if err != nil {
		return err
	}
	c := counter{w: w}
	buf := bufio.NewWriterSize(&c, 1<<16)
	if err := a.write(buf); err != nil {
		return err
	}
	if err := buf.Flush(); err != nil {
		return err
	}
	if c.n != want {
		panic(fmt.Sprintf("exchange: array %q is of %d bytes, its header says %d", a.name, c.n, want))
	}
	return nil
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// ints returns the elements of an array of whole numbers.
func (a *array) ints() ([]int64, error) {
	at, err := a.intAt()
	if err != nil {
		return nil, err
	}
	x := make([]int64, len(a.data)/a.dtype.size())
	for i := range x {
		x[i] = at(i)
	}
	return x, nil
}

// intAt returns a function that returns an element of an array of whole numbers.
func (a *array) intAt() (func(i int) int64, error) {
	switch d := a.data; a.dtype {
	case boolean, uint8s:
		return func(i int) int64 { return int64(d[i]) }, nil
	case int8s:
		return func(i int) int64 { return int64(int8(d[i])) }, nil
	case int16s:
		return func(i int) int64 { return int64(int16(binary.LittleEndian.Uint16(d[2*i:]))) }, nil
	case int32s:
		return func(i int) int64 { return int64(int32(binary.LittleEndian.Uint32(d[4*i:]))) }, nil
	case int64s:
		return func(i int) int64 { return int64(binary.LittleEndian.Uint64(d[8*i:])) }, nil
	}
	return nil, fmt.Errorf("array %q is of type %v, want whole numbers", a.name, a.dtype)
}

// floatAt returns a function that returns an element of an array of numbers or booleans.
func (a *array) floatAt() func(i int) float32 {
	le := binary.LittleEndian
	switch d := a.data; a.dtype {
	case float16s:
		return func(i int) float32 { return fromHalf(le.Uint16(d[2*i:])) }
	case bfloat16s:
		return func(i int) float32 { return math.Float32frombits(uint32(le.Uint16(d[2*i:])) << 16) }
	case float32s:
		return func(i int) float32 { return math.Float32frombits(le.Uint32(d[4*i:])) }
	case float64s:
		return func(i int) float32 { return float32(math.Float64frombits(le.Uint64(d[8*i:]))) }
	}
	at, _ := a.intAt()
	return func(i int) float32 { return float32(at(i)) }
}

// fromHalf widens an IEEE 754 binary16.
func fromHalf(h uint16) float32 {
	sign, exponent, fraction := uint32(h>>15)<<31, uint32(h>>10)&31, uint32(h)&1023
	switch exponent {
	case 0: // zero or subnormal
		f := float32(fraction) / (1 << 24)
		return math.Float32frombits(math.Float32bits(f) | sign)
	case 31:
		return math.Float32frombits(sign | 0xff<<23 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | fraction<<13)
}
