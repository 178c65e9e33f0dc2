// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/graphkv/graphkv/bench"
)

// peer is a script that measures other libraries. Between commands it waits.
type peer struct {
	name     string // of the script and of its requirements
	label    string
	kinds    []string // of the cases that it knows
	versions map[string]string

	cmd      *exec.Cmd
	in       io.WriteCloser
	out      *bufio.Reader
	excluded map[string]bool // contenders that failed in the case at hand
}

// reply is a line that a peer prints.
type reply struct {
	bench.Result
	Versions map[string]string `json:"versions"`
	Values   string            `json:"values"`
	Error    string            `json:"error"`
	Done     bool              `json:"done"`
}

var pythons = []string{"python3", "python"}

// start installs what the peer needs and starts it.
func (p *peer) start(ctx context.Context, folder, spec string) error {
	i := slices.IndexFunc(pythons, func(name string) bool { _, err := exec.LookPath(name); return err == nil })
	if i < 0 {
		return errors.New("no Python was found")
	}
	install := exec.CommandContext(ctx, pythons[i], filepath.Join(folder, "install.py"), p.name)
	install.Stderr = os.Stderr
	fmt.Fprintf(os.Stderr, "preparing %s\n", p.label)
	path, err := install.Output()
	if err != nil {
		return fmt.Errorf("its packages could not be installed: %w", err)
	}
	return p.serve(ctx, strings.TrimSpace(string(path)), filepath.Join(folder, p.name+".py"), spec, "--serve")
}

// serve starts the command and waits for its first line.
func (p *peer) serve(ctx context.Context, name string, args ...string) error {
	p.cmd = exec.CommandContext(ctx, name, args...)
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return err
	}
	first, err := p.line()
	if err != nil {
		p.stop()
		return fmt.Errorf("it ended before it was ready: %w", err)
	}
	p.versions, p.excluded = first.Versions, map[string]bool{}
	return nil
}

func (p *peer) line() (reply, error) {
	var r reply
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("%s printed %q: %w", p.name, line, err)
	}
	return r, nil
}

// stop lets the peer end.
func (p *peer) stop() {
	p.in.Close()
	io.Copy(io.Discard, p.out)
	p.cmd.Wait()
}

// knows reports whether the case may be one for this peer.
func (p *peer) knows(c bench.Case) bool { return !c.Alone && slices.Contains(p.kinds, c.Kind) }

// ask sends a command and returns the answer. who limits it to some contenders; nil
// stands for all.
func (p *peer) ask(command string, c bench.Case, threads int, who []string) ([]reply, error) {
	data, err := json.Marshal(map[string]any{"command": command, "case": c.ID, "threads": threads, "who": who})
	if err != nil {
		return nil, err
	}
	if _, err := p.in.Write(append(data, '\n')); err != nil {
		return nil, fmt.Errorf("%s: %w", p.label, err)
	}
	var list []reply
	for {
		r, err := p.line()
		if err != nil {
			return nil, fmt.Errorf("%s has ended during %s: %w", p.label, c.ID, err)
		}
		if r.Done {
			return list, nil
		}
		list = append(list, r)
	}
}

// values decodes what a contender computed.
func (r reply) values() ([]float32, error) {
	data, err := base64.StdEncoding.DecodeString(r.Values)
	if err != nil || len(data)%4 != 0 {
		return nil, fmt.Errorf("%s: values that are not float32: %w", r.Who, err)
	}
	x := make([]float32, len(data)/4)
	for i := range x {
		x[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return x, nil
}
