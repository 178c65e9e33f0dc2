// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/graphkv/graphkv"
)

// maxLine is the length of the longest line of a corpus, in bytes.
const maxLine = 64 << 20

// corpusLine is a segment of a corpus, and the ids of its sources.
type corpusLine struct {
	number int   // from 1
	start  int64 // offset in bytes
	end    int64
	graphkv.Segment
	Links []string `json:"links"`
}

// scanCorpus passes every line on that is not blank, and ends with the first error, which names the line if it is about one.
func scanCorpus(r io.Reader, visit func(corpusLine) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	var at int64
	lines.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		advance, token, err := bufio.ScanLines(data, atEOF)
		at += int64(advance)
		return advance, token, err
	})
	number := 0
	for start := int64(0); lines.Scan(); start = at {
		number++
		data := bytes.TrimSpace(lines.Bytes())
		if len(data) == 0 {
			continue
		}
		x, err := parseLine(data)
		if err == nil {
			x.number, x.start, x.end = number, start, at
			err = visit(x)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	err := lines.Err()
	if errors.Is(err, bufio.ErrTooLong) {
		err = fmt.Errorf("line %d is longer than %v", number+1, size(maxLine))
	}
	return err
}

func parseLine(data []byte) (corpusLine, error) {
	var x corpusLine
	if !utf8.Valid(data) {
		return x, errors.New("it is not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(&x)
	if err != nil {
		return x, fmt.Errorf(`%w; a line is {"id": "…", "text": "…" or "tokens": […], "links": ["…"]}`, err)
	}
	_, more := d.Token()
	switch {
	case more != io.EOF:
		return x, errors.New("something follows the object; give one a line")
	case x.ID == "":
		return x, errors.New("it has no id")
	case x.Text == "" && len(x.Tokens) == 0:
		return x, fmt.Errorf("segment %q has neither text nor tokens", x.ID)
	case x.Text != "" && x.Tokens != nil:
		return x, fmt.Errorf("segment %q has both text and tokens", x.ID)
	}
	return x, nil
}

// shard is the part of a corpus that a process encodes: i of n, from 1; the zero shard is all of it.
type shard struct{ i, n uint64 }

func (s *shard) String() string {
	if s.n == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.i, s.n)
}

// Set reads i/n.
func (s *shard) Set(text string) error {
	i, n, _ := strings.Cut(text, "/")
	var errs [2]error
	s.i, errs[0] = strconv.ParseUint(i, 10, 32)
	s.n, errs[1] = strconv.ParseUint(n, 10, 32)
	if errors.Join(errs[:]...) != nil || s.i < 1 || s.i > s.n {
		return fmt.Errorf("%q is not i/n with 1 ≤ i ≤ n", text)
	}
	return nil
}

// Type is what --help calls it.
func (*shard) Type() string { return "i/n" }

// owns reports whether a segment is this shard's: the first 8 bytes of the id's SHA-256, a big-endian number, modulo n is i − 1.
func (s shard) owns(id string) bool {
	if s.n <= 1 {
		return true
	}
	sum := sha256.Sum256([]byte(id))
	return binary.BigEndian.Uint64(sum[:])%s.n == s.i-1
}

// linkIndex is what is held of a corpus with links: where the lines are and how they refer to each other, not what they say.
type linkIndex struct {
	ids     map[string]int32
	names   []string
	lines   []place // in the order of the corpus; by the number that ids gives
	order   []int32
	sources [][]int32
}

type place struct {
	start, end int64
	number     int // 0: mentioned as a source, but not there
}

func indexLinks(r io.Reader) (*linkIndex, error) {
	x := &linkIndex{ids: map[string]int32{}}
	err := scanCorpus(r, func(l corpusLine) error {
		i := x.intern(l.ID)
		if p := x.lines[i]; p.number != 0 {
			return fmt.Errorf("segment %q is on line %d already", l.ID, p.number)
		}
		x.lines[i] = place{l.start, l.end, l.number}
		x.order = append(x.order, i)
		for _, source := range l.Links {
			j := x.intern(source)
			x.sources[i] = append(x.sources[i], j)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, i := range x.order {
		for _, j := range x.sources[i] {
			if x.lines[j].number == 0 {
				return nil, fmt.Errorf("line %d: segment %q links to %q, which the corpus does not have", x.lines[i].number, x.names[i], x.names[j])
			}
		}
	}
	return x, nil
}

func (x *linkIndex) intern(id string) int32 {
	i, ok := x.ids[id]
	if !ok {
		i = int32(len(x.names))
		x.ids[id] = i
		x.names = append(x.names, id)
		x.lines = append(x.lines, place{})
		x.sources = append(x.sources, nil)
	}
	return i
}

// read reads a line again.
func (x *linkIndex) read(r io.ReaderAt, i int32) (corpusLine, error) {
	p := x.lines[i]
	data := make([]byte, p.end-p.start)
	if _, err := r.ReadAt(data, p.start); err != nil && err != io.EOF {
		return corpusLine{}, err
	}
	l, err := parseLine(bytes.TrimSpace(data))
	if err == nil && l.ID != x.names[i] {
		err = errors.New("the corpus has changed since it was read for the first time")
	}
	if err != nil {
		return l, fmt.Errorf("line %d: %w", p.number, err)
	}
	l.number, l.start, l.end = p.number, p.start, p.end
	return l, nil
}

// closure returns a segment and all that it links to, directly or not, in the order of the corpus, or false if they are more than limit.
func (x *linkIndex) closure(i int32, limit int) ([]int32, bool) {
	seen := map[int32]bool{i: true}
	all := []int32{i}
	for at := 0; at < len(all); at++ {
		for _, j := range x.sources[all[at]] {
			if seen[j] {
				continue
			}
			if len(all) == limit {
				return nil, false
			}
			seen[j] = true
			all = append(all, j)
		}
	}
	return all, true
}
