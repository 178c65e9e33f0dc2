// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// npyMagic starts a file of one NumPy array: numpy.lib.format, versions 1.0 to 3.0.
const npyMagic = "\x93NUMPY"

// maxNPYHeader is the longest header that is read; NumPy's own limit.
const maxNPYHeader = 10000

// WriteFloats writes x as a NumPy array of float32. Its shape is its length if none is given.
func WriteFloats(w io.Writer, x []float32, shape ...int) error {
	a := ofSlice("", float32s, x, shape...)
	if n, err := a.bytes(); err != nil || n != 4*int64(len(x)) {
		return fmt.Errorf("exchange: shape %v for %d numbers", shape, len(x))
	}
	return writeNPY(w, &a)
}

// writeNPY writes an array in format version 1.0: magic, version, length of the header, and a header that ends at a
// multiple of 64 bytes.
func writeNPY(w io.Writer, a *array) error {
	var shape strings.Builder
	for _, n := range a.shape {
		fmt.Fprintf(&shape, "%d, ", n)
	}
	dims := shape.String()
	if len(a.shape) > 1 {
		dims = strings.TrimSuffix(dims, ", ")
	} else {
		dims = strings.TrimSuffix(dims, " ")
	}
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", dtypes[a.dtype].npy, dims)
	start := len(npyMagic) + 4
	header += strings.Repeat(" ", 63-(start+len(header))%64) + "\n"
	buf := append([]byte(npyMagic), 1, 0)
	buf = binary.LittleEndian.AppendUint16(buf, uint16(len(header)))
	if _, err := w.Write(append(buf, header...)); err != nil {
		return err
	}
	return writeArray(w, a)
}

// parseNPY reads one array of at most limit bytes. Data must hold it and nothing else.
func parseNPY(name string, data []byte, limit int64) (array, error) {
	a := array{name: name}
	fail := func(format string, args ...any) (array, error) {
		return array{}, fmt.Errorf("array %q: "+format, append([]any{name}, args...)...)
	}
	if len(data) < len(npyMagic)+4 || string(data[:len(npyMagic)]) != npyMagic {
		return fail("it is not in NumPy's format")
	}
	major, data := data[len(npyMagic)], data[len(npyMagic)+2:]
	length := 0
	switch {
	case major == 1:
		length, data = int(binary.LittleEndian.Uint16(data)), data[2:]
	case major <= 3 && len(data) >= 4:
		length, data = int(binary.LittleEndian.Uint32(data)), data[4:]
	default:
		return fail("version %d of NumPy's format is not read", major)
	}
	if length > maxNPYHeader {
		return fail("a header of %d bytes, the limit is %d", length, maxNPYHeader)
	}
	if length > len(data) {
		return fail("it ends within its header")
	}
	if err := a.parseHeader(string(data[:length])); err != nil {
		return fail("%w", err)
	}
	a.data = data[length:]
	n, err := a.bytes()
	if err != nil {
		return array{}, err
	}
	if n > limit {
		return array{}, &LimitError{What: fmt.Sprintf("array %q of shape %v", name, a.shape), Bytes: n, Limit: limit}
	}
	if n != int64(len(a.data)) {
		return fail("it has %d bytes of elements, shape %v needs %d", len(a.data), a.shape, n)
	}
	return a, nil
}

// parseHeader reads the Python literal {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }, its names in any order.
func (a *array) parseHeader(s string) error {
	bad := errors.New("its header is not a dictionary of descr, fortran_order and shape")
	s = strings.TrimSpace(s)
	if len(s) < 2 || s[0] != '{' || s[len(s)-1] != '}' {
		return bad
	}
	s = s[1 : len(s)-1]
	seen := map[string]bool{}
	for {
		if s = strings.TrimLeft(s, " ,"); s == "" {
			break
		}
		key, rest, ok := quoted(s)
		rest, colon := strings.CutPrefix(strings.TrimLeft(rest, " "), ":")
		if !ok || !colon || seen[key] {
			return bad
		}
		seen[key] = true
		s = strings.TrimLeft(rest, " ")
		switch key {
		case "descr":
			var descr string
			if descr, s, ok = quoted(s); !ok {
				return errors.New("its elements are records, which no mask has")
			}
			if a.dtype, ok = npyType(descr); !ok {
				return fmt.Errorf("its elements are of type %q, which is not read", descr)
			}
		case "fortran_order":
			if s, ok = strings.CutPrefix(s, "False"); !ok {
				return errors.New("it is not in C order; save numpy.ascontiguousarray of it")
			}
		case "shape":
			inner, rest, ok := strings.Cut(s, ")")
			inner, open := strings.CutPrefix(inner, "(")
			if !ok || !open {
				return bad
			}
			s = rest
			a.shape = []int{}
			for part := range strings.SplitSeq(inner, ",") {
				if part = strings.TrimSpace(part); part == "" {
					continue
				}
				n, err := strconv.ParseInt(part, 10, 0)
				if err != nil || n < 0 {
					return fmt.Errorf("its shape has %q", part)
				}
				a.shape = append(a.shape, int(n))
			}
		default:
			return bad
		}
	}
	if len(seen) != 3 {
		return bad
	}
	return nil
}

// quoted cuts a quoted string without escapes off s.
func quoted(s string) (text, rest string, ok bool) {
	if s == "" || s[0] != '\'' && s[0] != '"' {
		return "", s, false
	}
	return strings.Cut(s[1:], s[:1])
}

func npyType(descr string) (dtype, bool) {
	for d := range dtypes {
		if dtypes[d].npy == descr && descr != "" {
			return dtype(d), true
		}
	}
	return 0, false
}
