// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package hub

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPlainPath(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "my model.bin")
	require.NoError(t, os.WriteFile(good, []byte("GGUF\x03\x00\x00\x00"), 0o644))
	bad := filepath.Join(dir, "page.gguf")
	require.NoError(t, os.WriteFile(bad, []byte("GG"), 0o644))
	opts := Options{Dir: filepath.Join(dir, "unused")}

	path, err := Pull(t.Context(), good, opts)
	require.NoError(t, err)
	assert.Equal(t, good, path)
	path, err = Locate(t.Context(), good, opts)
	require.NoError(t, err)
	assert.Equal(t, good, path)

	_, err = Pull(t.Context(), bad, opts)
	assert.ErrorIs(t, err, ErrCorrupt)
	_, err = Locate(t.Context(), bad, opts)
	assert.ErrorIs(t, err, ErrCorrupt)
	_, err = Pull(t.Context(), dir, opts)
	assert.ErrorContains(t, err, "not a regular file")
	_, err = Pull(t.Context(), filepath.Join(dir, "none.gguf"), opts)
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.ErrorContains(t, err, "smollm2-135m-instruct")
	_, err = Pull(t.Context(), "", opts)
	assert.ErrorContains(t, err, "empty")
	assert.NoDirExists(t, opts.Dir)
}

func TestModelsFolder(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the cache folder of this test is set through XDG_CACHE_HOME and HOME")
	}
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("GRAPHKV_CACHE", "")
	base, err := os.UserCacheDir()
	require.NoError(t, err)
	dir, err := Options{}.dir()
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(base, "graphkv", "models"), dir)

	env := filepath.Join(home, "elsewhere")
	t.Setenv("GRAPHKV_CACHE", env)
	dir, err = Options{}.dir()
	require.NoError(t, err)
	assert.Equal(t, env, dir)

	dir, err = Options{Dir: filepath.Join(home, "given")}.dir()
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(home, "given"), dir)

	models, err := List(Options{})
	require.NoError(t, err)
	assert.Empty(t, models)
}

func TestParseHubRef(t *testing.T) {
	got, err := parseHubRef("hf:o/r/a/b-1.Q4_K.gguf@refs/pr/1")
	require.NoError(t, err)
	assert.Equal(t, hubRef{owner: "o", repo: "r", path: "a/b-1.Q4_K.gguf", revision: "refs/pr/1"}, got)
	got, err = parseHubRef("hf:o/r/f.gguf")
	require.NoError(t, err)
	assert.Equal(t, "main", got.revision)

	for ref, want := range map[string]string{
		"hf:":                      "owner, repository and file",
		"hf:o/f.gguf":              "owner, repository and file",
		"hf:o/r/../../f.gguf":      `".."`,
		"hf:../r/f.gguf":           `".."`,
		"hf:o/r/.hidden.gguf":      "begins with a dot",
		"hf:o//f.gguf":             "empty",
		"hf:/o/r/f.gguf":           "empty",
		"hf:o/r/f.gguf@":           "revision: a part is empty",
		"hf:o/r/f.gguf@../x":       "revision",
		"hf:o/r/f.gguf@a@b":        `'@'`,
		"hf:o/r/f.safetensors":     "not named .gguf",
		`hf:o/r/a\b.gguf`:          `'\\'`,
		"hf:o/r/f?x.gguf":          `'?'`,
		"hf:o/r/f%2e.gguf":         `'%'`,
		"hf:o/r/\x00.gguf":         `'\x00'`,
		"hf:o/r/c:f.gguf":          `':'`,
		"hf:o/" + long + "/f.gguf": "limit 200",
		"hf:o/r/f.gguf@" + long:    "limit 200",
	} {
		_, err := parseHubRef(ref)
		assert.ErrorContains(t, err, want, ref)
	}
}

var long = strings.Repeat("a", 201)

func FuzzHubRef(f *testing.F) {
	f.Add("hf:o/r/a/b.gguf@main")
	f.Add("hf:o/r/../b.gguf@..")
	f.Fuzz(func(t *testing.T, ref string) {
		tg, err := resolve("hf:"+ref, Options{Dir: "/models"})
		if err != nil {
			return
		}
		rel, err := filepath.Rel("/models", tg.path)
		if err != nil || !filepath.IsLocal(rel) || !strings.HasSuffix(tg.path, ".gguf") {
			t.Fatalf("%q leads to %q", ref, tg.path)
		}
	})
}

// Files that were put in the folder by hand are listed and used.
func TestListByHand(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	a := write("a.gguf", "GGUF1")
	b := write("hf/o/r/main/b.gguf", "GGUF22")
	write("c.gguf.partial", "GGUF")
	write(".fetch-1/d.gguf", "GGUF")
	write("notes.txt", "x")
	models, err := List(Options{Dir: dir})
	require.NoError(t, err)
	assert.Equal(t, []Model{{Ref: a, Path: a, Size: 5}, {Ref: b, Path: b, Size: 6}}, models)
	path, err := Locate(t.Context(), "hf:o/r/b.gguf", Options{Dir: dir})
	require.NoError(t, err)
	assert.Equal(t, b, path)
}
