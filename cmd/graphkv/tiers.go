// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9/logging"
	"github.com/spf13/cobra"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/redis"
)

// tiers are where a command keeps encoded segments besides memory.
type tiers struct {
	folder
	redis  string
	format format
	notes  notes
}

func (t *tiers) flags(cmd *cobra.Command) {
	t.folder.flags(cmd)
	t.budgetFlag()
	f := cmd.Flags()
	f.StringVar(&t.redis, "redis", "", "Redis or Valkey server, Cluster or Sentinels that machines share: redis://… or rediss://…")
	f.Var(&t.format, "kv-format", "numbers of keys and values: "+formatNames()+"; formats do not share entries")
}

// connect opens the store on Redis.
func (t *tiers) connect(ctx context.Context) (*redis.Store, error) {
	logging.Disable() // the client's own: what matters is an event
	return redis.Open(ctx, t.redis, redis.Options{Events: t.notes.listener()})
}

// format is a flag.
type format struct{ attention.Format }

func formatNames() string {
	var names []string
	for _, f := range attention.Formats() {
		names = append(names, f.String())
	}
	return strings.Join(names, ", ")
}

// Set reads a format's name.
func (f *format) Set(name string) error {
	i := slices.IndexFunc(attention.Formats(), func(x attention.Format) bool { return x.String() == name })
	if i < 0 {
		return fmt.Errorf("%q is not one of %s", name, formatNames())
	}
	f.Format = attention.Formats()[i]
	return nil
}

// Type is what --help calls it.
func (*format) Type() string { return "format" }

// notes collects what went wrong with tiers while a command did its work all the same. It prints each thing once: a full disk fails at every write.
type notes struct {
	mu     sync.Mutex
	lines  []string
	counts map[string]int
}

func (n *notes) listener() kvcache.EventListener {
	return kvcache.EventListener{
		Corrupt: func(e kvcache.CorruptEvent) {
			kept := ""
			if e.Kept != "" {
				kept = ", moved to " + e.Kept
			}
			n.add(e.Tier+" damaged", e.Err.Error()+kept)
		},
		Failed: func(e kvcache.FailEvent) { n.add(e.Tier+" "+e.Op, e.Err.Error()) },
		State: func(e kvcache.StateEvent) {
			if !e.Up {
				n.add(fmt.Sprint(e.Tier, " down ", e.Op), fmt.Sprintf("%s is out of use: %v", e.Tier, e.Err))
			}
		},
	}
}

// add keeps the first line about a thing, and counts the others.
func (n *notes) add(thing, line string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.counts == nil {
		n.counts = map[string]int{}
	}
	if n.counts[thing]++; n.counts[thing] == 1 && !slices.Contains(n.lines, line) {
		n.lines = append(n.lines, line)
	}
}

func (n *notes) print(w io.Writer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, line := range n.lines {
		fmt.Fprintln(w, line)
	}
}
