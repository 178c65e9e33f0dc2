// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// note is the .json file beside a model.
type note struct {
	Ref    string `json:"ref"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

func notePath(path string) string { return path + ".json" }

func readNote(path string) (note, error) {
	var n note
	data, err := os.ReadFile(notePath(path))
	if err != nil {
		return n, err
	}
	if err := json.Unmarshal(data, &n); err != nil {
		return n, fmt.Errorf("%s: %w", notePath(path), err)
	}
	return n, nil
}

func (n note) write(path string) error {
	data, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(notePath(path), append(data, '\n'))
}

// writeFile replaces a small file at once.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// present checks that a target is in the cache and is what it has to be.
func present(ctx context.Context, t target, opts Options) error {
	info, err := os.Stat(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s (%s)", ErrNotCached, t.ref, t.path)
	}
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("hub: %s is not a regular file", t.path)
	}
	want := t.want
	if n, err := readNote(t.path); err == nil && want.Size == 0 {
		want = expected{Size: n.Size, SHA256: n.SHA256}
	}
	if !opts.Verify {
		want.SHA256 = ""
	}
	return check(ctx, t.path, want)
}

// check compares a file with what it has to be.
func check(ctx context.Context, path string, want expected) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	if want.Size > 0 && info.Size() != want.Size {
		return fmt.Errorf("%w: %s has %d bytes, want %d", ErrCorrupt, path, info.Size(), want.Size)
	}
	if err := checkMagic(path); err != nil {
		return err
	}
	if want.SHA256 == "" {
		return nil
	}
	sum, err := fileSHA256(ctx, path)
	if err != nil {
		return err
	}
	if sum != want.SHA256 {
		return fmt.Errorf("%w: %s has SHA-256 %s, want %s", ErrCorrupt, path, sum, want.SHA256)
	}
	return nil
}

// checkMagic looks whether a file begins as a GGUF file does.
func checkMagic(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	defer f.Close()
	var magic [4]byte
	if _, err := io.ReadFull(f, magic[:]); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("hub: read %s: %w", path, err)
	}
	if string(magic[:]) != "GGUF" {
		return fmt.Errorf("%w: %s is not a GGUF file (it begins with %q)", ErrCorrupt, path, magic[:])
	}
	return nil
}

func fileSHA256(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("hub: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyBuffer(h, contextReader{ctx, f}, make([]byte, 1<<20)); err != nil {
		return "", fmt.Errorf("hub: read %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// contextReader ends with the context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// install fetches a target under its lock and gives it its final name.
func install(ctx context.Context, t target, opts Options) (err error) {
	if err := os.MkdirAll(filepath.Dir(t.path), 0o755); err != nil {
		return err
	}
	unlock, err := lock(ctx, t.path+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	// Another process may have fetched it in the meantime.
	if err := present(ctx, t, opts); err == nil || !refetch(err) {
		return err
	}
	if opts.MaxBytes < 0 {
		return fmt.Errorf("Options.MaxBytes is %d", opts.MaxBytes)
	}
	if limit := opts.maxBytes(); t.want.Size > limit {
		return fmt.Errorf("%w: %s has %d bytes, limit %d", ErrTooLarge, t.ref, t.want.Size, limit)
	}
	part, err := openPartial(t.path+".partial", opts)
	if err != nil {
		return err
	}
	defer part.close()
	said, err := t.source.fetch(ctx, part)
	if err != nil {
		return err
	}
	if err := part.finish(); err != nil {
		return err
	}
	want := t.want
	if want.Size == 0 {
		want.Size = said.Size
	}
	if want.SHA256 == "" {
		want.SHA256 = said.SHA256
	}
	if err := check(ctx, part.path, want); err != nil {
		if errors.Is(err, ErrCorrupt) {
			part.remove()
		}
		return err
	}
	n := note{Ref: t.ref, Size: part.size, SHA256: want.SHA256}
	if n.SHA256 == "" {
		// Nobody told it; kept to notice later changes.
		if n.SHA256, err = fileSHA256(ctx, part.path); err != nil {
			return err
		}
	}
	if err := n.write(t.path); err != nil {
		return err
	}
	if err := os.Rename(part.path, t.path); err != nil {
		return err
	}
	os.Remove(part.statePath())
	return syncDir(filepath.Dir(t.path))
}
