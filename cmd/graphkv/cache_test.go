// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// warmFolder returns a folder with 40 entries of f32 and 40 of i8.
func warmFolder(t testing.TB) string {
	t.Helper()
	dir, path := t.TempDir(), newTestCorpus(40, 11).file(t)
	mustWarm(t, path, "--cache-dir", dir)
	mustWarm(t, path, "--cache-dir", dir, "--kv-format", "i8")
	return dir
}

func cache(t testing.TB, dir string, args ...string) string {
	t.Helper()
	return mustRun(t, "", append([]string{"cache", args[0], "--cache-dir", dir}, args[1:]...)...)
}

func entryFiles(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "v1", "*", "*.kv"))
	require.NoError(t, err)
	return files
}

func listAll(t testing.TB, dir string) (all []listed) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(cache(t, dir, "ls", "--json")))
	for d.More() {
		var x listed
		require.NoError(t, d.Decode(&x))
		all = append(all, x)
	}
	return all
}

func TestCacheStatAndList(t *testing.T) {
	dir := warmFolder(t)
	all := listAll(t, dir)
	require.Len(t, all, 80)
	tokens := map[string]int{}
	var bytes int64
	for _, x := range all {
		info, err := os.Stat(filepath.Join(dir, "v1", x.Key[:2], x.Key+".kv"))
		require.NoError(t, err)
		require.Equal(t, (info.Size()+4095)/4096*4096, x.Bytes)
		require.WithinDuration(t, time.Now(), x.Used, time.Minute)
		require.Empty(t, x.Error)
		tokens[x.Format] += x.Tokens
		bytes += x.Bytes
	}
	require.Len(t, tokens, 2)
	require.Equal(t, tokens["f32"], tokens["i8"])
	model := all[0].Model
	require.Contains(t, mustRun(t, "", "inspect", tiny), model)

	stat := cache(t, dir, "stat")
	require.Contains(t, stat, fmt.Sprintf("80 entries, %d tokens, %v of 10 GiB", 2*tokens["f32"], size(bytes)))
	require.Regexp(t, fmt.Sprintf(`%s +f32 +40 +%d `, model[:shortDigits], tokens["f32"]), stat)
	require.Regexp(t, fmt.Sprintf(`%s +i8 +40 +%d `, model[:shortDigits], tokens["i8"]), stat)
	lines := strings.Split(strings.TrimSpace(cache(t, dir, "ls")), "\n")
	require.Len(t, lines, 80)
	require.Contains(t, lines[0], all[0].Key[:shortDigits])
}

// Looking evicts nothing, however small the folder's budget has become, and makes no folder.
func TestCacheLooking(t *testing.T) {
	dir := warmFolder(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, budgetName), []byte("8192\n"), 0o600))
	for _, command := range []string{"stat", "ls", "verify"} {
		cache(t, dir, command)
		require.Len(t, entryFiles(t, dir), 80)
	}
	cache(t, dir, "export", filepath.Join(t.TempDir(), "archive"))
	require.Len(t, entryFiles(t, dir), 80)
	missing := filepath.Join(t.TempDir(), "missing")
	for _, command := range []string{"stat", "ls", "verify", "gc", "export"} {
		_, _, err := run(t, "", "cache", command, "--cache-dir", missing)
		require.ErrorContains(t, err, "nothing has been kept in "+missing)
	}
	require.NoDirExists(t, missing)
}

func TestCacheVerify(t *testing.T) {
	dir := warmFolder(t)
	require.Contains(t, cache(t, dir, "verify"), "80 entries verified")
	files := entryFiles(t, dir)
	for _, damaged := range files[:2] {
		b, err := os.ReadFile(damaged)
		require.NoError(t, err)
		b[len(b)-100] ^= 4
		require.NoError(t, os.WriteFile(damaged, b, 0o600))
	}
	b, err := os.ReadFile(files[2])
	require.NoError(t, err)
	b[60] ^= 4 // in the header
	require.NoError(t, os.WriteFile(files[2], b, 0o600))
	require.Contains(t, cache(t, dir, "stat"), "1 files have a damaged header")
	require.Contains(t, cache(t, dir, "ls"), "damaged")
	require.Contains(t, cache(t, dir, "ls", "--json"), `"error"`)

	out, log, err := run(t, "", "cache", "verify", "--cache-dir", dir)
	require.ErrorContains(t, err, "3 damaged files are in quarantine")
	require.Contains(t, out, "80 entries verified")
	require.Contains(t, out, ": 3 damaged, 0 could not be read")
	for _, damaged := range files[:3] {
		require.Contains(t, log, damaged)
		require.NoFileExists(t, damaged)
	}
	require.Contains(t, cache(t, dir, "verify"), "77 entries verified")
}

func TestCacheCollect(t *testing.T) {
	dir := warmFolder(t)
	require.Contains(t, cache(t, dir, "gc"), "0 entries evicted, 0 B; 80 entries are left")
	require.Contains(t, cache(t, dir, "gc", "--budget", "500KiB"), "entries evicted")
	var bytes int64
	for _, x := range listAll(t, dir) {
		bytes += x.Bytes
	}
	require.LessOrEqual(t, bytes, int64(500<<10))
	require.Greater(t, bytes, int64(300<<10), "no more than need be")
	require.Contains(t, cache(t, dir, "stat"), "of 10 GiB", "it was for once")
}

func TestCacheRemove(t *testing.T) {
	dir := warmFolder(t)
	all := listAll(t, dir)
	require.Contains(t, cache(t, dir, "rm", all[3].Key[:8], all[7].Key), "2 entries removed")
	require.Len(t, listAll(t, dir), 78)
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "give the first digits"},
		{[]string{"abc"}, "at least 8"},
		{[]string{"not a key"}, "at least 8"},
		{[]string{"--all"}, "add --yes"},
		{[]string{"--all", "--yes", all[0].Key}, "give neither keys"},
		{[]string{"--model", "nowhere.gguf"}, "nowhere.gguf"},
		{[]string{"--model", "00000000"}, "nothing matches"},
		{[]string{all[3].Key}, "nothing matches"},
	} {
		_, _, err := run(t, "", append([]string{"cache", "rm", "--cache-dir", dir}, c.args...)...)
		require.ErrorContains(t, err, c.want, "%v", c.args)
	}
	require.Contains(t, cache(t, dir, "rm", "--model", tiny, all[0].Key[:10]), "1 entries removed")
	require.Contains(t, cache(t, dir, "rm", "--model", all[0].Model[:12], all[1].Key[:10]), "1 entries removed")
	require.Len(t, listAll(t, dir), 76)
	require.Contains(t, cache(t, dir, "rm", "--all", "--yes"), "76 entries removed")
	require.Contains(t, cache(t, dir, "rm", "--all", "--yes"), "0 entries removed")
}

// An archive brings the same entries to another folder, through a file or a pipe.
func TestCacheMoves(t *testing.T) {
	dir, other, third := warmFolder(t), t.TempDir(), t.TempDir()
	archive := filepath.Join(t.TempDir(), "archive")
	_, log, err := run(t, "", "cache", "export", archive, "--cache-dir", dir)
	require.NoError(t, err)
	require.Contains(t, log, "80 entries exported")
	require.Contains(t, cache(t, other, "import", archive), "80 entries imported")
	stream := cache(t, dir, "export", "--model", tiny)
	require.Contains(t, mustRun(t, stream, "cache", "import", "--cache-dir", third), "80 entries imported")
	for _, file := range entryFiles(t, dir) {
		want, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, copied := range []string{other, third} {
			got, err := os.ReadFile(filepath.Join(copied, strings.TrimPrefix(file, dir)))
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
	}
	require.Less(t, len(cache(t, dir, "export", "--model", "0123456789")), 64, "of another model: none")

	out, _, err := run(t, stream[:len(stream)/2], "cache", "import", "--cache-dir", t.TempDir())
	require.ErrorContains(t, err, "the archive ends")
	require.Regexp(t, `^[1-7]\d entries imported`, out)
	out, log, err = run(t, stream, "cache", "import", "--cache-dir", t.TempDir(), "--cache-budget", "300KiB")
	require.NoError(t, err)
	require.Contains(t, log, "had to go to keep the budget of 300 KiB")
	require.Contains(t, out, "entries imported")

	require.Error(t, writeFile(archive+"1", func(w io.Writer) error {
		fmt.Fprint(w, "half of it")
		return io.ErrClosedPipe
	}))
	require.NoFileExists(t, archive+"1")

	// A damaged entry stays behind, and is said to.
	b, err := os.ReadFile(entryFiles(t, dir)[5])
	require.NoError(t, err)
	b[len(b)-1] ^= 1
	require.NoError(t, os.WriteFile(entryFiles(t, dir)[5], b, 0o600))
	_, log, err = run(t, "", "cache", "export", archive+"2", "--cache-dir", dir)
	require.ErrorContains(t, err, "1 damaged files were left out")
	require.Contains(t, log, "79 entries exported")
	require.FileExists(t, archive+"2")
}

// The budget that a folder was given is what later commands keep.
func TestFolderRemembersItsBudget(t *testing.T) {
	dir, path := t.TempDir(), newTestCorpus(40, 12).file(t)
	mustWarm(t, path, "--cache-dir", dir, "--cache-budget", "12.5GiB")
	require.Contains(t, cache(t, dir, "stat"), "of 12 GiB")
	mustRun(t, tinyRequest, "ask", "--model", tiny, "--request", "-", "--cache-dir", dir)
	require.Contains(t, cache(t, dir, "stat"), "of 12 GiB")
	mustRun(t, tinyRequest, "ask", "--model", tiny, "--request", "-", "--cache-dir", dir, "--cache-budget", "1MiB")
	require.Contains(t, cache(t, dir, "stat"), "of 1 MiB")
	require.NoError(t, os.WriteFile(filepath.Join(dir, budgetName), []byte("plenty"), 0o600))
	_, _, err := run(t, "", "cache", "stat", "--cache-dir", dir)
	require.ErrorContains(t, err, `"plenty" is not a size`)
}
