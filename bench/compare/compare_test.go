// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graphkv/graphkv/bench"
)

// The test binary can also be a peer: of its contenders one is right, one is wrong,
// one fails, and one is too slow to be asked again.
func TestMain(m *testing.M) {
	if os.Getenv("COMPARE_TEST_PEER") == "" {
		os.Exit(m.Run())
	}
	data, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	var spec bench.Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		panic(err)
	}
	fmt.Println(`{"versions": {"fake": "1.2"}, "contenders": ["right"]}`)
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var command struct {
			Command, Case string
			Threads       int
			Who           []string
		}
		if err := json.Unmarshal(in.Bytes(), &command); err != nil {
			panic(err)
		}
		serve(&spec, command.Command, command.Case, command.Threads, command.Who)
		fmt.Println(`{"done": true}`)
	}
	os.Exit(0)
}

func serve(spec *bench.Spec, command, id string, threads int, who []string) {
	c, _ := spec.Case(id)
	self := bench.NewRunner(spec, threads)
	defer self.Close()
	values, err := self.Check(c)
	if err != nil {
		panic(err)
	}
	asked := func(name string) bool { return who == nil || strings.Contains(strings.Join(who, ","), name) }
	for name, seconds := range map[string]float64{"right": 1, "slow": 5, "wrong": 0.1} {
		if !asked(name) {
			continue
		}
		if command == "measure" {
			fmt.Printf(`{"case": %q, "who": %q, "threads": %d, "value": %g, "unit": %q, "seconds": %g, "min_seconds": %g, "reps": 3}`+"\n",
				id, name, threads, c.Rate(seconds), c.Unit, seconds, seconds/2)
			continue
		}
		data := make([]byte, 4*len(values))
		for i, v := range values {
			if name == "wrong" && i == len(values)-1 {
				v += 0.01
			}
			binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(v))
		}
		fmt.Printf(`{"case": %q, "who": %q, "values": %q}`+"\n", id, name, base64.StdEncoding.EncodeToString(data))
	}
	if asked("broken") {
		fmt.Printf(`{"case": %q, "who": "broken", "error": "out of order"}`+"\n", id)
	}
}

func TestTurns(t *testing.T) {
	t.Setenv("COMPARE_TEST_PEER", "1")
	spec := bench.NewSpec(64)
	o := &options{threads: []int{1}, runs: 3, scale: 64, cases: []string{"attention/L1/A", "attention/L3x8", "attention/L3/A"}, out: t.TempDir(), note: "A remark."}
	data, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "spec.json")
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	p := &peer{name: "fake", label: "Fake", kinds: []string{bench.KindAttention}}
	if err := p.serve(t.Context(), os.Args[0], path); err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	r := &report{spec: spec, options: o, peers: []*peer{p}}
	if err := r.measure(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	runs := map[string]int{}
	for _, e := range r.rows[0].entries {
		runs[e.who] = len(e.runs)
	}
	if want := (map[string]int{"graphkv": 3, "graphkv mask": 3, "right": 3, "slow": 1}); fmt.Sprint(runs) != fmt.Sprint(want) {
		t.Errorf("runs: %v, want %v", runs, want)
	}
	if best := r.rows[0].fastest(); best == nil || best.who != "right" {
		t.Errorf("fastest: %+v", best)
	}
	if row := r.rows[0]; row.bestRatio(row.fastest(), row.self()) >= 1 {
		t.Errorf("half a second is better than our %v", row.least(row.self()))
	}
	if n := len(r.rows[2].entries); r.rows[2].ID != "attention/L3x8/A" || n != 1 {
		t.Errorf("%d contenders in a case of our own", n)
	}
	if err := r.write(); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(o.out, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"fake 1.2", "A remark.", "wrong, attention/L1/A, 1 threads: its numbers differ from ours by 0.01", "broken, attention/L1/A, 1 threads: out of order", "](attention-a.svg)", "per pair of tokens"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	lines, err := os.ReadFile(filepath.Join(o.out, "results.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(lines), "\n"); n != 2*(3+3+3+1)+3 {
		t.Errorf("%d lines of results", n)
	}
}

func TestRatioPairsRuns(t *testing.T) {
	timed := func(seconds ...float64) *entry {
		e := &entry{runs: map[int]bench.Result{}}
		for i, s := range seconds {
			if s > 0 {
				e.runs[i] = bench.Result{Timing: bench.Timing{Seconds: s}}
			}
		}
		return e
	}
	for _, c := range []struct {
		a, b *entry
		want float64
	}{
		{timed(1, 2, 4), timed(2, 4, 8), 2},
		{timed(1, 2, 4), timed(2, 0, 4), 1.5}, // of 2 and 1
		{timed(1, 1, 1, 1), timed(3, 0, 0, 0), 3},
	} {
		if got := ratio(c.a, c.b); got != c.want {
			t.Errorf("ratio %g, want %g", got, c.want)
		}
	}
}

func TestDifference(t *testing.T) {
	nan := float32(math.NaN())
	if d := difference([]float32{1, 2}, []float32{1, 2.5}); d != 0.5 {
		t.Error(d)
	}
	if d := difference([]float32{1, 1}, []float32{nan, 1}); !math.IsInf(d, 1) {
		t.Error(d)
	}
	if d := difference([]float32{1}, nil); !math.IsInf(d, 1) {
		t.Error(d)
	}
}

// A peer that ends is an error that says so, not a hang.
func TestPeerThatEnds(t *testing.T) {
	r, w := io.Pipe()
	w.Close()
	p := &peer{label: "Fake", in: w, out: bufio.NewReader(r)}
	if _, err := p.ask("measure", bench.Case{ID: "x"}, 1, nil); err == nil {
		t.Error("no error")
	}
}
