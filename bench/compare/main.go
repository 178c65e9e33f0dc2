// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Command compare measures graphkv and its peers in turns on this machine and writes
// tables and plots.
//
//	go run -C bench/compare .                        everything, for an hour or so
//	go run -C bench/compare . -case attention/L3     cases whose id begins so
//	go run -C bench/compare . -scale 16 -runs 1      a quick try of the machinery
//
// Peers need Python 3; what they need beside it is installed, in pinned versions, into
// the user's cache folder at first use (PyTorch is a large download, and llama.cpp is
// built from source, which takes a C++ compiler and ten minutes). A peer that cannot be
// had is reported as missing. It is a module of its own, so that the library does not
// depend on the plotter.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/graphkv/graphkv/bench"
	"github.com/graphkv/graphkv/hub"
)

type options struct {
	threads []int
	runs    int
	scale   int
	cases   []string
	peers   string
	model   string
	out     string
	note    string
	spec    bool
}

func main() {
	var o options
	var threads, cases string
	flag.StringVar(&threads, "threads", strconv.Itoa(runtime.NumCPU()), "comma-separated thread counts, the same for all contenders")
	flag.IntVar(&o.runs, "runs", 5, "turns that each contender takes; medians are reported")
	flag.IntVar(&o.scale, "scale", 1, "divide all lengths by this")
	flag.StringVar(&cases, "case", "", "comma-separated beginnings of case ids; empty for all")
	flag.StringVar(&o.peers, "peers", "../peers", "folder of the peers' scripts; empty for none")
	flag.StringVar(&o.model, "model", "smollm2-135m-instruct", "the model; empty for none")
	flag.StringVar(&o.out, "out", "../results", "folder for results")
	flag.StringVar(&o.note, "note", "", "a remark on the conditions, to stand above the tables")
	flag.BoolVar(&o.spec, "spec", false, "only print the description of the cases, for running a peer's script by hand")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := o.parse(threads, cases)
	if err == nil {
		err = o.run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func (o *options) parse(threads, cases string) error {
	for _, s := range strings.Split(threads, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return fmt.Errorf("-threads: %q is not a number of threads", s)
		}
		o.threads = append(o.threads, n)
	}
	o.cases = strings.Split(cases, ",")
	if o.runs < 1 || o.scale < 1 {
		return errors.New("-runs and -scale must be at least 1")
	}
	return nil
}

func (o *options) wants(c bench.Case) bool {
	if o.model == "" {
		switch c.Kind {
		case bench.KindPrefill, bench.KindDecode, bench.KindTTFT, bench.KindGraph:
			return false
		}
	}
	for _, begin := range o.cases {
		if strings.HasPrefix(c.ID, begin) {
			return true
		}
	}
	return false
}

func (o *options) run(ctx context.Context) error {
	spec := bench.NewSpec(o.scale)
	if err := o.locate(ctx, spec); err != nil {
		return err
	}
	data, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	if o.spec {
		_, err := fmt.Printf("%s\n", data)
		return err
	}
	dir, err := os.MkdirTemp("", "graphkv-compare-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "spec.json")
	if err := os.WriteFile(path, data, 0o666); err != nil {
		return err
	}
	r := &report{spec: spec, options: o}
	for _, p := range []peer{
		{name: "attention", label: "PyTorch and onnxruntime", kinds: []string{bench.KindAttention, bench.KindGEMM}},
		{name: "llama", label: "llama.cpp", kinds: []string{bench.KindPrefill, bench.KindDecode, bench.KindTTFT, bench.KindGraph}},
	} {
		if o.peers == "" || !o.anyOf(spec, p.kinds) {
			continue
		}
		if err := p.start(ctx, o.peers, path); err != nil {
			r.missing = append(r.missing, fmt.Sprintf("%s: %v", p.label, err))
			fmt.Fprintln(os.Stderr, "missing:", r.missing[len(r.missing)-1])
			continue
		}
		defer p.stop()
		r.peers = append(r.peers, &p)
	}
	for _, threads := range o.threads {
		if err := r.measure(ctx, threads); err != nil {
			if len(r.rows) == 0 {
				return err
			}
			// What took an hour is not to be lost.
			return errors.Join(err, r.write())
		}
	}
	return r.write()
}

// locate finds the model, if any case needs it, and what its tokens are.
func (o *options) locate(ctx context.Context, spec *bench.Spec) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	spec.Cache = filepath.Join(cache, "graphkv", "peers")
	if !o.anyOf(spec, []string{bench.KindPrefill, bench.KindDecode, bench.KindTTFT, bench.KindGraph}) {
		return nil
	}
	if spec.Model, err = hub.Pull(ctx, o.model, hub.Options{}); err != nil {
		return err
	}
	e, err := bench.OpenEngine(spec, 1) // sets the size of the vocabulary
	if err != nil {
		return err
	}
	return e.Close()
}

// anyOf reports whether a case that is asked for is of one of the kinds.
func (o *options) anyOf(spec *bench.Spec, kinds []string) bool {
	for _, c := range spec.Cases {
		for _, k := range kinds {
			if c.Kind == k && o.wants(c) {
				return true
			}
		}
	}
	return false
}
