// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/graphkv/graphkv/mask"
)

// Format says which tool's form a mask is in.
type Format string

const (
	Flex       Format = "flex"       // FlexAttention's BlockMask
	FlashInfer Format = "flashinfer" // FlashInfer's block-sparse rows with packed bits
	CSR        Format = "csr"        // SciPy's csr_matrix of tokens
	CSRBlocks  Format = "csr-blocks" // SciPy's csr_matrix of blocks, with the bits of the partial ones
	Dense      Format = "dense"      // a boolean array of tokens by tokens
	Additive   Format = "additive"   // Hugging Face's float mask of four dimensions, with the biases of edges
)

// Formats returns all formats.
func Formats() []Format { return []Format{Flex, FlashInfer, CSR, CSRBlocks, Dense, Additive} }

// Container says what kind of file holds the arrays.
type Container string

const (
	Safetensors Container = "safetensors"
	NPZ         Container = "npz"
	NPY         Container = "npy" // a single array: Dense and Additive only
)

// DefaultMaxBytes bounds what is written and read.
const DefaultMaxBytes = 1 << 30

// DefaultBlockSize is the size of blocks that forms without any are cut into when they are read.
const DefaultBlockSize = 128

// LimitError reports that a mask takes more than it may.
type LimitError struct {
	What         string
	Bytes, Limit int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("exchange: %s: %d bytes, the limit is %d", e.What, e.Bytes, e.Limit)
}

// WriteOptions say how a mask is written.
type WriteOptions struct {
	Container Container // empty: [Safetensors]
	MaxBytes  int64     // of all arrays together; 0: [DefaultMaxBytes]
	// Infinite puts −Inf where an additive mask hides a token. Without it that is the most negative finite float32, as in
	// Hugging Face's models, where a row that sees nothing must not become NaN.
	Infinite bool
	// Name names a node of the layout in errors and metadata; nil for the layout's own names.
	Name func(node int) string
}

// Write writes a mask. If it was lowered from a layout in which every node stands at one place for all its readers, see
// [Places], the file also has position_ids, int64 [1, tokens]; in a safetensors file the metadata says why where it has none.
//
// Sizes are checked before anything is written: more than MaxBytes are a *LimitError. Rows are drawn as they are written,
// so memory is proportional to blocks and never to the square of the tokens.
func Write(w io.Writer, b Blocks, format Format, o WriteOptions) error {
	limit, name := o.MaxBytes, o.Name
	if limit == 0 {
		limit = DefaultMaxBytes
	}
	m, layout := lowered(b)
	if layout != nil && name == nil {
		name = func(node int) string { return layout.Node(node).String() }
	}
	arrays, err := arraysOf(b, format, limit, o, name)
	if err != nil {
		return err
	}
	if o.Container == NPY {
		if len(arrays) > 1 {
			return fmt.Errorf("exchange: %s has %d arrays, a .npy file holds one; use .npz or .safetensors", format, len(arrays))
		}
		if err := checkSize(arrays, format, b, limit); err != nil {
			return err
		}
		return writeNPY(w, &arrays[0])
	}
	metadata := map[string]string{
		"format": "graphkv-mask", "mask": string(format), "tokens": strconv.Itoa(b.Tokens()), "block_size": strconv.Itoa(b.BlockSize()),
	}
	if m != nil {
		if ids, err := PositionIDs(layout, name); err != nil {
			metadata["position_ids"] = "none: " + strings.TrimPrefix(err.Error(), "exchange: ")
		} else {
			arrays = append(arrays, ofSlice("position_ids", int64s, ids, 1, len(ids)))
		}
	}
	if err := checkSize(arrays, format, b, limit); err != nil {
		return err
	}
	switch o.Container {
	case NPZ:
		return writeNPZ(w, arrays)
	case Safetensors, "":
		return writeSafetensors(w, textFree(arrays), metadata)
	}
	return fmt.Errorf("exchange: unknown container %q", o.Container)
}

// arraysOf returns the arrays of a format. What grows with pairs of tokens is bounded before it is computed.
func arraysOf(b Blocks, format Format, limit int64, o WriteOptions, name func(node int) string) ([]array, error) {
	if _, l := lowered(b); l != nil && format != Additive {
		if err := noScores(l, "the format "+string(format), name); err != nil {
			return nil, err
		}
	}
	switch format {
	case Flex:
		return flexArrays(b), nil
	case FlashInfer:
		return flashInferArrays(b)
	case CSR:
		return csrArrays(b, limit)
	case CSRBlocks:
		return csrBlocksArrays(b), nil
	case Dense:
		return []array{denseArray(b)}, nil
	case Additive:
		hidden := float32(-math.MaxFloat32)
		if o.Infinite {
			hidden = float32(math.Inf(-1))
		}
		s, err := scoresOf(b, hidden, name)
		if err != nil {
			return nil, err
		}
		return []array{additiveArray(b, hidden, s)}, nil
	}
	return nil, fmt.Errorf("exchange: unknown format %q (have %v)", format, Formats())
}

func checkSize(arrays []array, format Format, b Blocks, limit int64) error {
	total := int64(0)
	for i := range arrays {
		n, err := arrays[i].bytes()
		if err != nil {
			return fmt.Errorf("exchange: %w", err)
		}
		if total += n; total > limit || total < 0 {
			return &LimitError{What: fmt.Sprintf("a mask of %d tokens as %s", b.Tokens(), format), Bytes: total, Limit: limit}
		}
	}
	return nil
}

// textFree drops the text that only SciPy looks for.
func textFree(arrays []array) []array {
	var out []array
	for _, a := range arrays {
		if a.dtype != text3 {
			out = append(out, a)
		}
	}
	return out
}

// ReadOptions say how a mask is read.
type ReadOptions struct {
	MaxBytes  int64 // of the arrays, and of the bits of partial blocks; 0: [DefaultMaxBytes]
	BlockSize int   // of forms without blocks; 0: [DefaultBlockSize]
}

// File is a mask that was read.
type File struct {
	Format    Format
	Container Container
	*Matrix
	// PositionIDs has one position per token, nil if the file has none; Metadata may say why.
	PositionIDs []int64
	// Metadata is that of a safetensors file.
	Metadata map[string]string
	// Heads is the first dimension of an additive mask; otherwise 1.
	Heads int
	// Bias holds what an additive mask adds to the scores of tokens that at least one head sees, [Heads][Tokens][Tokens],
	// −Inf where a head does not see what another does. Nil if that is 0 everywhere.
	Bias []float32
}

// arrayNames are those that any format has.
var arrayNames = map[string]bool{
	"BLOCK_SIZE": true, "seq_lengths": true, "kv_num_blocks": true, "kv_indices": true, "full_kv_num_blocks": true,
	"full_kv_indices": true, "partial_bits": true,
	"M": true, "N": true, "R": true, "C": true, "indptr": true, "indices": true, "packed_mask": true,
	"format": true, "shape": true, "data": true, "block_size": true, "tokens": true,
	"mask": true, "attention_mask": true, "position_ids": true,
}

// Read reads a mask in any of the formats and containers, which it tells by what is there. Errors name the array and what
// is wrong with it; a file that asks for more than it may is a *LimitError. Data is not kept.
func Read(data []byte, o ReadOptions) (*File, error) {
	f := &reader{limit: o.MaxBytes, blockSize: o.BlockSize}
	if f.limit == 0 {
		f.limit = DefaultMaxBytes
	}
	if f.blockSize == 0 {
		f.blockSize = DefaultBlockSize
	}
	file, err := f.read(data)
	if err != nil {
		var limit *LimitError
		if errors.As(err, &limit) {
			return nil, limit
		}
		return nil, fmt.Errorf("exchange: %w", err)
	}
	return file, nil
}

// reader holds the arrays of a file.
type reader struct {
	arrays    map[string]array
	limit     int64
	blockSize int
}

func (f *reader) read(data []byte) (*File, error) {
	file := &File{Heads: 1}
	var err error
	switch {
	case bytes.HasPrefix(data, []byte(npyMagic)):
		file.Container = NPY
		var a array
		if a, err = parseNPY("mask", data, f.limit); err != nil {
			return nil, err
		}
		f.arrays = map[string]array{"mask": a}
	case bytes.HasPrefix(data, []byte(zipMagic)):
		file.Container = NPZ
		f.arrays, err = parseNPZ(data, arrayNames, f.limit)
	default:
		file.Container = Safetensors
		f.arrays, file.Metadata, err = parseSafetensors(data, arrayNames, f.limit)
	}
	if err != nil {
		return nil, err
	}
	switch {
	case f.has("kv_num_blocks"):
		file.Format = Flex
		file.Matrix, err = readFlex(f)
	case f.has("R"):
		file.Format = FlashInfer
		file.Matrix, err = readFlashInfer(f)
	case f.has("indptr") && f.has("block_size"):
		file.Format = CSRBlocks
		file.Matrix, err = readCSRBlocks(f)
	case f.has("indptr"):
		file.Format = CSR
		file.Matrix, err = readCSR(f)
	case f.has("attention_mask") || f.has("mask"):
		name := "mask"
		if f.has("attention_mask") {
			name = "attention_mask"
		}
		a := f.arrays[name]
		file.Format = Dense
		if a.dtype.float() {
			file.Format = Additive
		}
		file.Matrix, file.Heads, file.Bias, err = readDense(f, &a)
	default:
		err = errors.New("none of its arrays belongs to a mask")
	}
	if err == nil && f.has("position_ids") {
		err = f.positions(file)
	}
	if err != nil {
		return nil, err
	}
	return file, nil
}

func (f *reader) positions(file *File) error {
	a, err := f.array("position_ids")
	if err != nil {
		return err
	}
	if file.PositionIDs, err = a.ints(); err != nil {
		return err
	}
	if n := len(file.PositionIDs); n != file.Tokens() {
		return fmt.Errorf("array \"position_ids\" has %d numbers for %d tokens", n, file.Tokens())
	}
	return nil
}

func (f *reader) has(name string) bool {
	_, ok := f.arrays[name]
	return ok
}

func (f *reader) array(name string) (*array, error) {
	a, ok := f.arrays[name]
	if !ok {
		return nil, fmt.Errorf("array %q is missing", name)
	}
	return &a, nil
}

// matrix begins the matrix that is read.
func (f *reader) matrix(tokens, blockSize int) (*matrixBuilder, error) {
	return newMatrix(tokens, blockSize, f.limit)
}

// scalar reads one number.
func (f *reader) scalar(name string) (int, error) {
	x, err := f.numbers(name, 1)
	if err != nil {
		return 0, err
	}
	return x[0], nil
}

// pair reads two equal numbers.
func (f *reader) pair(name string) (int, error) {
	x, err := f.numbers(name, 2)
	if err != nil {
		return 0, err
	}
	if x[0] != x[1] {
		return 0, fmt.Errorf("array %q is %v; a mask has as many queries as keys", name, x)
	}
	return x[0], nil
}

// numbers reads n numbers of at least 0.
func (f *reader) numbers(name string, n int) ([]int, error) {
	a, err := f.array(name)
	if err != nil {
		return nil, err
	}
	at, err := a.intAt()
	if err != nil {
		return nil, err
	}
	if have := len(a.data) / a.dtype.size(); have != n {
		return nil, fmt.Errorf("array %q has %d numbers, want %d", name, have, n)
	}
	x := make([]int, n)
	for i := range x {
		v := at(i)
		if v < 0 || v > mask.MaxTokens {
			return nil, fmt.Errorf("array %q is %d, want 0 to %d", name, v, mask.MaxTokens)
		}
		x[i] = int(v)
	}
	return x, nil
}
