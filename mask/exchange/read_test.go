// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package exchange_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/mask"
	"github.com/graphkv/graphkv/mask/exchange"
	"github.com/graphkv/graphkv/posenc"
)

// npy is a file as NumPy would write it, but for its header.
func npy(header string, data ...byte) []byte {
	out := append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), byte(len(header)>>8))
	return append(append(out, header...), data...)
}

func header(descr, shape string) string {
	return "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }\n"
}

// archive is a .npz file of name, file, name, file….
func archive(t testing.TB, method uint16, entries ...any) []byte {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for i := 0; i < len(entries); i += 2 {
		w, err := z.CreateHeader(&zip.FileHeader{Name: entries[i].(string), Method: method})
		require.NoError(t, err)
		_, err = w.Write(entries[i+1].([]byte))
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	return out.Bytes()
}

func safetensors(header string, data ...byte) []byte {
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...), data...)
}

func i32(x ...int32) []byte {
	out, _ := binary.Append(nil, binary.LittleEndian, x)
	return out
}

func TestForeignFiles(t *testing.T) {
	// In another order, with double quotes, of version 2.
	h := "{\"shape\": (2,2), 'fortran_order':False,\"descr\":\"|u1\"}"
	v2 := append([]byte("\x93NUMPY\x02\x00"), byte(len(h)), 0, 0, 0)
	f, err := exchange.Read(append(append(v2, h...), 7, 0, 1, 1), exchange.ReadOptions{})
	require.NoError(t, err)
	require.Equal(t, exchange.Dense, f.Format)
	require.True(t, f.Allowed(0, 0) && !f.Allowed(0, 1) && f.Allowed(1, 0) && f.Allowed(1, 1))

	// Half precision, as models in float16 have it; −65504 is its most negative number.
	f, err = exchange.Read(npy(header("<f2", "(1, 1, 2, 2)"), 0, 0, 0xff, 0xfb, 0, 0x38, 0, 0x80), exchange.ReadOptions{})
	require.NoError(t, err)
	require.Equal(t, exchange.Additive, f.Format)
	require.False(t, f.Allowed(0, 1))
	require.Equal(t, []float32{0, 0, 0.5, 0}, f.Bias)

	// numpy.savez_compressed compresses.
	f, err = exchange.Read(archive(t, zip.Deflate, "mask.npy", npy(header("|b1", "(1, 1)"), 1), "other.npy", []byte("x")), exchange.ReadOptions{})
	require.NoError(t, err)
	require.Equal(t, exchange.NPZ, f.Container)

	// A BlockMask without full blocks, and indices as wide as FlexAttention's own.
	bits := []byte{1, 3}
	f, err = exchange.Read(archive(t, zip.Store,
		"BLOCK_SIZE.npy", npy(header("<i4", "(2,)"), i32(2, 2)...), "seq_lengths.npy", npy(header("<i4", "(2,)"), i32(2, 2)...),
		"kv_num_blocks.npy", npy(header("<i4", "(1, 1, 1)"), i32(1)...), "kv_indices.npy", npy(header("<i4", "(1, 1, 1, 3)"), i32(0, 9, 9)...),
		"partial_bits.npy", npy(header("|u1", "(1, 2, 1)"), bits...)), exchange.ReadOptions{})
	require.NoError(t, err)
	require.EqualValues(t, 3, f.NNZ())
}

// The files that the tools themselves have written, see testdata/generate.py.
func TestFilesOfTheTools(t *testing.T) {
	const n = 37
	want := &matrix{size: 8, rows: make([][]bool, n)}
	for q := range n {
		for k := range n {
			want.rows[q] = append(want.rows[q], (7*q+3*k)%5 < 2 || q < 16 && k < 16 || q == k)
		}
	}
	for file, format := range map[string]exchange.Format{
		"dense.npy": exchange.Dense, "dense.npz": exchange.Dense, "csr.npz": exchange.CSR,
		"additive.safetensors": exchange.Additive, "flex.safetensors": exchange.Flex,
	} {
		data, err := os.ReadFile(filepath.Join("testdata", file))
		require.NoError(t, err)
		f, err := exchange.Read(data, exchange.ReadOptions{BlockSize: 8})
		require.NoError(t, err, file)
		require.Equal(t, format, f.Format, file)
		require.Nil(t, f.Bias, file)
		same(t, want, f)
	}
}

func TestHostileFiles(t *testing.T) {
	flex := func(size, length, num, indices, partial []byte) []byte {
		return archive(t, zip.Store, "BLOCK_SIZE.npy", size, "seq_lengths.npy", length, "kv_num_blocks.npy", num, "kv_indices.npy", indices, "partial_bits.npy", partial)
	}
	two := npy(header("<i4", "(2,)"), i32(2, 2)...)
	num, indices := npy(header("<i4", "(1, 1, 1)"), i32(1)...), npy(header("<i4", "(1, 1, 1, 1)"), i32(0)...)
	bits := npy(header("|u1", "(1, 2, 1)"), 1, 3)
	bigZero := archive(t, zip.Deflate, "mask.npy", append(npy(header("|b1", "(20000, 20000)")), make([]byte, 2<<20)...))
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":          {nil, "too short"},
		"text":             {[]byte("a text that is no file of arrays"), "neither a .npy, a .npz nor a .safetensors"},
		"half a magic":     {[]byte("\x93NUMPY"), "not in NumPy's format"},
		"version":          {[]byte("\x93NUMPY\x09\x00\x00\x00"), "version 9"},
		"long header":      {[]byte("\x93NUMPY\x01\x00\xff\xff"), "the limit is 10000"},
		"cut header":       {[]byte("\x93NUMPY\x01\x00\x10\x00{"), "ends within its header"},
		"no dictionary":    {npy("[]\n"), "not a dictionary"},
		"pickle":           {npy(header("|O", "(1, 1)"), 1), `type "|O"`},
		"big endian":       {npy(header(">i4", "(1, 1)"), 1, 1, 1, 1), `type ">i4"`},
		"records":          {npy("{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (1,)}"), "records"},
		"fortran":          {npy("{'descr': '|b1', 'fortran_order': True, 'shape': (1, 1)}", 1), "ascontiguousarray"},
		"negative":         {npy(header("|b1", "(-1, 1)")), `its shape has "-1"`},
		"huge":             {npy(header("|b1", "(9223372036854775807, 9223372036854775807)")), "too many elements"},
		"large":            {npy(header("|b1", "(1000000, 1000000)")), "the limit is 1048576"},
		"cut":              {npy(header("|b1", "(2, 2)"), 1), "1 bytes of elements"},
		"trailing":         {npy(header("|b1", "(1, 1)"), 1, 1), "2 bytes of elements"},
		"repeated":         {npy("{'shape': (1,), 'shape': (1,), 'descr': '|b1', 'fortran_order': False}", 1), "not a dictionary"},
		"vector":           {npy(header("|b1", "(2,)"), 1, 1), "want [n n]"},
		"rectangle":        {npy(header("|b1", "(1, 2)"), 1, 1), "want [n n]"},
		"batch":            {npy(header("|b1", "(2, 1, 1, 1)"), 1, 1), "one batch entry"},
		"empty":            {npy(header("|b1", "(0, 0)")), "0 tokens"},
		"text array":       {npy(header("|S3", "(1, 1)"), 'c', 's', 'r'), "is of type |S3"},
		"NaN":              {npy(header("<f4", "(1, 1)"), 0, 0, 0xc0, 0x7f), "NaN at (0, 0)"},
		"cut archive":      {[]byte("PK\x03\x04"), "zip"},
		"bomb":             {bigZero, "the limit is 1048576"},
		"twice":            {archive(t, zip.Store, "mask.npy", npy(header("|b1", "(1, 1)"), 1), "mask.npy", npy(header("|b1", "(1, 1)"), 1)), "there twice"},
		"no mask":          {archive(t, zip.Store, "x.npy", []byte("y")), "none of its arrays"},
		"header too long":  {safetensors("{" + strings.Repeat(" ", 2<<20) + "}"), "the limit is 1048576"},
		"header too short": {safetensors("{}")[:9], "neither"},
		"bad JSON":         {safetensors("{x}"), "its header"},
		"bad tensor":       {safetensors(`{"mask": 3}`), `tensor "mask"`},
		"bad metadata":     {safetensors(`{"__metadata__": {"a": 1}}`), "metadata"},
		"overlap":          {safetensors(`{"mask":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1), "lies at"},
		"beyond":           {safetensors(`{"mask":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}`, 1), "lies at"},
		"backwards":        {safetensors(`{"mask":{"dtype":"U8","shape":[9],"data_offsets":[0,-9]}}`), "lies at"},
		"gap":              {safetensors(`{}`, 1), "1 bytes follow"},
		"size":             {safetensors(`{"mask":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}}`, 1), "needs 2"},
		"dtype":            {safetensors(`{"mask":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}`, 1), "F8_E4M3"},
		"negative shape":   {safetensors(`{"mask":{"dtype":"U8","shape":[-1,-1],"data_offsets":[0,1]}}`, 1), "shape [-1 -1]"},
		"block size 0":     {flex(npy(header("<i4", "(2,)"), i32(0, 0)...), two, num, indices, bits), "block size 0"},
		"oblong blocks":    {flex(npy(header("<i4", "(2,)"), i32(2, 3)...), two, num, indices, bits), "as many queries as keys"},
		"huge blocks":      {flex(npy(header("<i4", "(2,)"), i32(1<<30, 1<<30)...), two, num, indices, bits), "want 1 to 32768"},
		"many tokens":      {flex(two, npy(header("<i4", "(2,)"), i32(1<<30, 1<<30)...), num, indices, bits), "the limit is 1048576"},
		"rows":             {flex(two, npy(header("<i4", "(2,)"), i32(4, 4)...), num, indices, bits), "want [1 1 2]"},
		"count":            {flex(two, two, npy(header("<i4", "(1, 1, 1)"), i32(2)...), indices, bits), "has room for 1"},
		"column":           {flex(two, two, num, npy(header("<i4", "(1, 1, 1, 1)"), i32(1)...), bits), "ascending ones below 1"},
		"heads":            {flex(two, two, npy(header("<i4", "(1, 2, 1)"), i32(1, 1)...), indices, bits), "several batch entries or heads"},
		"floats":           {flex(two, two, npy(header("<f4", "(1, 1, 1)"), i32(1)...), indices, bits), "want whole numbers"},
		"no bits":          {archive(t, zip.Store, "BLOCK_SIZE.npy", two, "seq_lengths.npy", two, "kv_num_blocks.npy", num, "kv_indices.npy", indices), "cannot be told apart"},
		"few bits":         {flex(two, two, num, indices, npy(header("|u1", "(1, 1, 1)"), 1)), "1 partial blocks need [1 2 1]"},
		"bits beyond":      {flex(two, two, num, indices, npy(header("|u1", "(1, 2, 1)"), 1, 4)), "bits beyond the last token"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := exchange.Read(c.data, exchange.ReadOptions{MaxBytes: 1 << 20})
			require.ErrorContains(t, err, c.want)
			require.True(t, strings.HasPrefix(err.Error(), "exchange: "), err)
		})
	}
}

func TestDamagedArrays(t *testing.T) {
	sparse := func(indptr, indices, data []byte, more ...any) []byte {
		return archive(t, zip.Store, append([]any{"indptr.npy", indptr, "indices.npy", indices, "data.npy", data,
			"shape.npy", npy(header("<i4", "(2,)"), i32(2, 2)...)}, more...)...)
	}
	good := npy(header("<i4", "(3,)"), i32(0, 1, 2)...)
	cols, ones := npy(header("<i4", "(2,)"), i32(0, 1)...), npy(header("|b1", "(2,)"), 1, 1)
	_, err := exchange.Read(sparse(good, cols, ones), exchange.ReadOptions{})
	require.NoError(t, err)
	one := func(x int32) []byte { return npy(header("<i4", "()"), i32(x)...) }
	for want, data := range map[string][]byte{
		`format "bsr"`:                 sparse(good, cols, ones, "format.npy", npy(header("|S3", "()"), 'b', 's', 'r')),
		"want 3 that end":              sparse(npy(header("<i4", "(2,)"), i32(0, 2)...), cols, ones),
		"row 0 is from 0 to -1":        sparse(npy(header("<i4", "(3,)"), i32(0, -1, 2)...), cols, ones),
		"row 0 is from 0 to 9":         sparse(npy(header("<i4", "(3,)"), i32(0, 9, 2)...), cols, ones),
		"row 1 has column 2":           sparse(good, npy(header("<i4", "(2,)"), i32(0, 2)...), ones),
		"has 1 numbers for the 2":      sparse(good, cols, npy(header("|b1", "(1,)"), 1)),
		"has 7 in row 0":               sparse(good, cols, npy(header("|u1", "(2,)"), 7, 1), "block_size.npy", one(1), "tokens.npy", one(2)),
		"2 rows of blocks, 9 tokens":   sparse(good, cols, ones, "block_size.npy", one(1), "tokens.npy", one(9)),
		`"block_size" has 2 numbers`:   sparse(good, cols, ones, "block_size.npy", cols, "tokens.npy", one(9)),
		"blocks of 2×3":                sparse(good, cols, ones, "M.npy", one(2), "N.npy", one(2), "R.npy", one(2), "C.npy", one(3)),
		"2 queries and 7 keys":         sparse(good, cols, ones, "M.npy", one(2), "N.npy", one(7), "R.npy", one(1), "C.npy", one(1)),
		"ends within row 0":            sparse(good, cols, ones, "M.npy", one(2), "N.npy", one(2), "R.npy", one(1), "C.npy", one(1), "packed_mask.npy", npy(header("|u1", "(0,)"))),
		"has 1 bytes after":            sparse(good, cols, ones, "M.npy", one(2), "N.npy", one(2), "R.npy", one(1), "C.npy", one(1), "packed_mask.npy", npy(header("|u1", "(3,)"), 1, 1, 1)),
		`"position_ids" has 2 numbers`: archive(t, zip.Store, "mask.npy", npy(header("|b1", "(1, 1)"), 1), "position_ids.npy", cols),
	} {
		_, err := exchange.Read(data, exchange.ReadOptions{})
		require.ErrorContains(t, err, want)
	}
	// A few numbers in a file may not ask for many bitmaps.
	big := archive(t, zip.Store, "indptr.npy", good, "indices.npy", cols, "data.npy", ones, "shape.npy", npy(header("<i4", "(2,)"), i32(2, 2)...))
	_, err = exchange.Read(big, exchange.ReadOptions{MaxBytes: 1000, BlockSize: 1 << 15})
	var limit *exchange.LimitError
	require.True(t, errors.As(err, &limit), "%v", err)
}

func FuzzRead(f *testing.F) {
	l, err := posenc.Ego(2, []int{3, 5, 4}, 2, 3)
	require.NoError(f, err)
	m, err := mask.New(l, 4)
	require.NoError(f, err)
	for _, format := range exchange.Formats() {
		for _, c := range containers(format) {
			f.Add(write(f, m, format, exchange.WriteOptions{Container: c}))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := exchange.Read(data, exchange.ReadOptions{MaxBytes: 1 << 20, BlockSize: 4})
		if err != nil {
			return
		}
		for _, format := range []exchange.Format{exchange.Flex, exchange.FlashInfer, exchange.CSRBlocks} {
			var out bytes.Buffer
			if err := exchange.Write(&out, got, format, exchange.WriteOptions{MaxBytes: 1 << 22}); err != nil {
				var limit *exchange.LimitError
				require.True(t, errors.As(err, &limit), "%s: %v", format, err)
				continue
			}
			again, err := exchange.Read(out.Bytes(), exchange.ReadOptions{})
			require.NoError(t, err, format)
			require.Equal(t, got.Matrix, again.Matrix, fmt.Sprint(format))
		}
	})
}
