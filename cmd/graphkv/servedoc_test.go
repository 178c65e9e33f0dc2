// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// docBlocks returns the code blocks of docs/serve.md in a language.
func docBlocks(t testing.TB, language string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/serve.md")
	require.NoError(t, err)
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, m[1])
	}
	require.NotEmpty(t, blocks)
	return blocks
}

func TestDocumentedSettingsAreThoseThereAre(t *testing.T) {
	require.Equal(t, mustRun(t, "", "serve", "--print-config"), docBlocks(t, "yaml")[0])
}

// The documentation's requests are answered.
func TestDocumentedRequests(t *testing.T) {
	needSignals(t)
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	s := start(t, nil)
	for _, block := range docBlocks(t, "sh") {
		script := strings.NewReplacer("localhost:8080", strings.TrimPrefix(s.url, "http://"), "curl ", "curl -sS --fail-with-body ").Replace(block)
		out, err := exec.CommandContext(t.Context(), "bash", "-e", "-c", script).CombinedOutput()
		require.NoError(t, err, "%s\n%s", script, out)
		require.Contains(t, string(out), `"choices":`)
		require.NotContains(t, string(out), `"error":`)
	}
}

// The figures that the documentation names are there.
func TestDocumentedFigures(t *testing.T) {
	needSignals(t)
	text, err := os.ReadFile("../../docs/serve.md")
	require.NoError(t, err)
	s := start(t, nil)
	require.Equal(t, 200, s.status("POST", "/v1/completions", completion("A", 3, "")))
	_, page := s.send("GET", s.url+"/metrics", "")
	figures := regexp.MustCompile(`graphkv_[a-z_]+`).FindAllString(string(text), -1)
	require.NotEmpty(t, figures)
	for _, name := range figures {
		require.Regexp(t, `(?m)^`+name+`(_bucket)?[{ ]`, page)
	}
}
