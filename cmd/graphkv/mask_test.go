// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/mask/exchange"
)

func TestMaskExportAndShow(t *testing.T) {
	dir := t.TempDir()
	r, err := graphkv.ParseRequest([]byte(tinyRequest))
	require.NoError(t, err)
	p, err := graphkv.Compile(r, graphkv.CompileOptions{})
	require.NoError(t, err)
	m, err := p.Mask(4)
	require.NoError(t, err)
	for _, c := range [][2]string{
		{"flex", "safetensors"}, {"flex", "npz"}, {"flashinfer", "npz"}, {"csr", "npz"}, {"csr-blocks", "safetensors"},
		{"dense", "npy"}, {"additive", "safetensors"},
	} {
		file := filepath.Join(dir, c[0]+"."+c[1])
		out := mustRun(t, tinyRequest, "mask", "export", "--request", "-", "--format", c[0], "--block", "4", "--out", file)
		require.Contains(t, out, file+": 13 tokens in 5 nodes")
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		f, err := exchange.Read(data, exchange.ReadOptions{BlockSize: 4})
		require.NoError(t, err)
		require.Equal(t, m.Cols(), cols(f.Matrix))
		shown := mustRun(t, "", "mask", "show", "--block", "4", file)
		require.Contains(t, shown, c[0]+" in "+c[1])
		require.Contains(t, shown, m.Picture(100, nil))
		if c[1] != "npy" {
			require.Contains(t, shown, "one per token, the last token's is 10")
		}
	}
	file := filepath.Join(dir, "steps.json")
	out := mustRun(t, tinyRequest, "mask", "export", "--request", "-", "--format", "sequences", "--out", file)
	require.Contains(t, out, "steps in 4 sequences over 13 cells")
	require.Contains(t, mustRun(t, "", "mask", "show", "--block", "4", file), m.Picture(100, nil))

	// A layout whose sources stand at several places says so.
	file = filepath.Join(dir, "full.safetensors")
	out = mustRun(t, tinyRequest, "mask", "export", "--request", "-", "--strategy", "graphkv", "--out", file)
	require.Contains(t, out, "It has no position_ids: query sees kv")
	require.Contains(t, mustRun(t, "", "mask", "show", file), "none: query sees kv")
}

func cols(m *exchange.Matrix) (all []int32) {
	for i := range m.Side() {
		c, _ := m.Row(i)
		all = append(all, c...)
	}
	return all
}

func TestMaskErrors(t *testing.T) {
	dir := t.TempDir()
	for want, args := range map[string][]string{
		`required flag(s) "out"`:                  {"export"},
		"a mask goes to a .safetensors":           {"export", "--out", filepath.Join(dir, "mask.bin")},
		"sequences to a .json file":               {"export", "--format", "sequences", "--out", filepath.Join(dir, "mask.npz")},
		"a .npy file holds one":                   {"export", "--out", filepath.Join(dir, "mask.npy")},
		`unknown format "x"`:                      {"export", "--format", "x", "--out", filepath.Join(dir, "mask.npz")},
		"the limit is 10":                         {"export", "--max-size", "10B", "--format", "dense", "--out", filepath.Join(dir, "mask.npz")},
		"one position per token cannot say both":  {"export", "--strategy", "graphkv", "--format", "sequences", "--out", filepath.Join(dir, "mask.json")},
		"no such file":                            {"show", filepath.Join(dir, "none.npz")},
		"the limit is 1 B":                        {"show", "--max-size", "1", "mask_test.go"},
		"neither a .npy, a .npz nor a .safetenso": {"show", "mask_test.go"},
	} {
		if args[0] == "export" {
			args = append(args, "--request", "-")
		}
		_, _, err := run(t, tinyRequest, append([]string{"mask"}, args...)...)
		require.ErrorContains(t, err, want, "%v", args)
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "what failed leaves nothing behind")
}
