// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package hub

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// partial is a file being fetched. It survives a broken fetch together with
// its state, so that the next one can go on where it ended.
type partial struct {
	path  string
	file  *os.File
	out   io.Writer
	size  int64 // bytes in the file
	total int64 // −1: not known
	opts  Options
}

// partialState says which version of the file the bytes belong to.
type partialState struct {
	ETag   string `json:"etag"`
	SHA256 string `json:"sha256,omitempty"`
}

// writeError is a failure of this machine's disk, which another try of the
// transfer does not mend.
type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

func openPartial(path string, opts Options) (*partial, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		f.Close()
		return nil, err
	}
	p := &partial{path: path, file: f, out: f, size: size, total: -1, opts: opts}
	if opts.writer != nil {
		p.out = opts.writer(f)
	}
	return p, nil
}

func (p *partial) statePath() string { return p.path + ".json" }

// state returns what the bytes in the file belong to; the zero value if that
// is not known.
func (p *partial) state() partialState {
	var s partialState
	if data, err := os.ReadFile(p.statePath()); err != nil || json.Unmarshal(data, &s) != nil {
		return partialState{}
	}
	return s
}

// restart empties the file for another version of its content.
func (p *partial) restart(s partialState) error {
	os.Remove(p.statePath())
	if err := p.file.Truncate(0); err != nil {
		return &writeError{err}
	}
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return &writeError{err}
	}
	p.size = 0
	if s == (partialState{}) {
		return nil
	}
	data, err := json.Marshal(s)
	if err == nil {
		err = writeFile(p.statePath(), data)
	}
	if err != nil {
		return &writeError{err}
	}
	return nil
}

func (p *partial) Write(b []byte) (int, error) {
	n, err := p.out.Write(b)
	p.size += int64(n)
	if err != nil {
		return n, &writeError{fmt.Errorf("write %s: %w", p.path, err)}
	}
	p.report()
	return n, nil
}

func (p *partial) report() {
	if p.opts.Progress != nil {
		p.opts.Progress(p.size, p.total)
	}
}

// finish brings the bytes to the disk..
func (p *partial) finish() error {
	if err := p.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", p.path, err)
	}
	return p.close()
}

func (p *partial) close() error {
	if p.file == nil {
		return nil
	}
	err := p.file.Close()
	p.file = nil
	return err
}

// remove gives up what was fetched.
func (p *partial) remove() {
	p.close()
	os.Remove(p.path)
	os.Remove(p.statePath())
}
