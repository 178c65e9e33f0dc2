// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package difftest

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	parser "github.com/gpustack/gguf-parser-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/model/gguf"
)

// models returns the files to compare on: the tiny models, and a real one if
// GRAPHKV_TEST_MODEL names it or it lies in the cache.
func models(t *testing.T) []string {
	paths, err := filepath.Glob("../../model/testdata/tiny/*.gguf")
	require.NoError(t, err)
	require.Len(t, paths, 5)
	paths = append(paths, "../../model/gguf/testdata/dequant.gguf")
	if path := os.Getenv("GRAPHKV_TEST_MODEL"); path != "" {
		return append(paths, path)
	}
	if cache, err := os.UserCacheDir(); err == nil {
		path := filepath.Join(cache, "graphkv", "models", "SmolLM2-135M-Instruct.Q4_1.gguf")
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			return append(paths, path)
		}
	}
	t.Log("no real model: set GRAPHKV_TEST_MODEL to compare on one as well")
	return paths
}

func TestAgainstGGUFParser(t *testing.T) {
	for _, path := range models(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			want, err := parser.ParseGGUFFile(path)
			require.NoError(t, err)
			got, err := gguf.Open(path)
			require.NoError(t, err)
			defer got.Close()

			assert.Equal(t, uint32(want.Header.Version), got.Version())
			keys := got.Keys()
			require.Len(t, keys, len(want.Header.MetadataKV))
			for i, kv := range want.Header.MetadataKV {
				require.Equal(t, kv.Key, keys[i])
				v, ok := got.Value(kv.Key)
				require.True(t, ok, kv.Key)
				require.Equal(t, uint32(kv.ValueType), uint32(v.Kind()), kv.Key)
				require.Equal(t, plain(t, kv.Value), trimmed(v.Any()), kv.Key)
			}

			tensors := got.Tensors()
			require.Len(t, tensors, len(want.TensorInfos))
			for i, w := range want.TensorInfos {
				g := tensors[i]
				require.Equal(t, w.Name, g.Name)
				require.Equal(t, w.Type.String(), g.Type.String(), w.Name)
				shape := make([]int, len(w.Dimensions))
				for d, n := range w.Dimensions {
					shape[d] = int(n)
				}
				require.Equal(t, shape, g.Shape, w.Name)
				require.Equal(t, want.TensorDataStartOffset+int64(w.Offset), g.Offset, w.Name)
				require.Equal(t, w.Bytes(), uint64(len(g.Data)), w.Name)
			}
		})
	}
}

// trimmed cuts white space around strings, as gguf-parser-go does when it reads
// them. That our reader keeps it is shown by its own tests, against Python.
func trimmed(v any) any {
	switch v := v.(type) {
	case string:
		return strings.TrimSpace(v)
	case []string:
		for i := range v {
			v[i] = strings.TrimSpace(v[i])
		}
		return v
	}
	return v
}

// plain turns the parser's arrays, which are []any, into slices of their
// elements' type.
func plain(t *testing.T, v any) any {
	a, ok := v.(parser.GGUFMetadataKVArrayValue)
	if !ok {
		return v
	}
	require.Len(t, a.Array, int(a.Len))
	if a.Type == parser.GGUFMetadataValueTypeArray {
		out := make([]any, len(a.Array))
		for i, e := range a.Array {
			out[i] = plain(t, e)
		}
		return out
	}
	require.NotEmpty(t, a.Array, "the type of an empty array is not kept")
	out := reflect.MakeSlice(reflect.SliceOf(reflect.TypeOf(a.Array[0])), 0, len(a.Array))
	for _, e := range a.Array {
		out = reflect.Append(out, reflect.ValueOf(e))
	}
	return out.Interface()
}
