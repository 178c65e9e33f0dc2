// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/spf13/cobra"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/kvcache"
)

// warm is the command.
type warm struct {
	tiers
	model       string
	strategy    string
	rounds      int
	positions   string
	longContext bool
	shard       shard
}

func newWarm() *cobra.Command {
	w := &warm{}
	cmd := &cobra.Command{
		Use:   "warm corpus.jsonl",
		Short: "Encode a corpus ahead of time",
		Long: `Encode all segments of a corpus and store them in the folder or, with --redis, on a
server, so that requests find them. The corpus (- is standard input) has one JSON object
a line:

  {"id": "gehry", "text": "Frank Gehry was an architect.\n", "links": ["toronto"]}
  {"id": "toronto", "tokens": [504, 788, 12]}

  id      names the segment, for links, shards and messages
  text    is tokenised as a segment of a request is, or
  tokens  are the ids of its tokens
  links   are the ids of its sources: the segments that it attends to (dag only)

What is stored is what requests with the same model, format and strategy look for:

  block   every segment by itself. That is also what pcw, ego's neighbours and the first
          round of graphkv need, and dag for segments without sources. The corpus is
          streamed: memory does not grow with it.
  dag     every segment over its sources, as the request encodes it that has as segments
          this one and all that it links to, directly or not, in the order of the corpus.
          Positions depend on the longest segments of the whole request, so one with
          further segments may have to encode some again. The ids and links of the whole
          corpus are held in memory, and the corpus must be a file.

What is stored already is skipped by a look at its key. So a run that was interrupted, or
a corpus that has grown, is warmed by the same command again. With --shard i/n a process
encodes only the segments whose ids hash to i, 1 ≤ i ≤ n: let a scheduler start n of them,
on machines that share the folder or the server. With dag a shard encodes its own segments
and whatever sources of theirs are missing.

A segment that the model cannot take is named and left out; the exit status is then 1.`,
		Example: `  graphkv cache warm corpus.jsonl
  graphkv cache warm corpus.jsonl --kv-format f16 --cache-dir /mnt/shared/kv --cache-budget 200GiB
  graphkv cache warm corpus.jsonl --strategy dag --redis redis://cache:6379 --shard 3/8`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return w.run(cmd, args[0]) },
	}
	w.flags(cmd)
	f := cmd.Flags()
	f.StringVarP(&w.model, "model", "m", defaultModel, "built-in model name, hf:owner/repo/file.gguf, or a GGUF file")
	f.StringVarP(&w.strategy, "strategy", "s", string(graphkv.Block), "block, or dag")
	f.IntVar(&w.rounds, "rounds", 0, "rounds of message passing in dag")
	f.StringVar(&w.positions, "positions", "", "layout of dag: shared or sequential (default shared)")
	f.BoolVar(&w.longContext, "long-context", false, "allow positions past those the model was trained on")
	f.Var(&w.shard, "shard", "encode only the i-th of n parts of the corpus")
	cmd.MarkFlagsMutuallyExclusive("redis", "cache-dir")
	cmd.MarkFlagsMutuallyExclusive("redis", "cache-budget")
	return cmd
}

func (w *warm) run(cmd *cobra.Command, path string) (err error) {
	dag := w.strategy == string(graphkv.DAG)
	switch {
	case !dag && w.strategy != string(graphkv.Block):
		return fmt.Errorf("--strategy %q: a corpus is warmed for block or for dag", w.strategy)
	case !dag && (w.rounds != 0 || w.positions != ""):
		return errors.New("--rounds and --positions are for --strategy dag")
	case dag && path == "-":
		return errors.New("with --strategy dag the corpus is read twice, so it must be a file")
	}
	in, total := cmd.InOrStdin(), int64(0)
	var file *os.File
	if path != "-" {
		if file, err = os.Open(path); err != nil {
			return err
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return err
		}
		in, total = file, info.Size()
	}
	e, err := w.open(cmd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()

	r := newWarming(cmd, w, e, total)
	read := func() error { return r.blocks(in) }
	if dag {
		read = func() error { return r.graphs(file) }
	}
	return r.run(read)
}

// open opens the engine over the folder or the server. Its queue of writes has no bounds of its own: see [warming.paced].
func (w *warm) open(cmd *cobra.Command) (*graphkv.Engine, error) {
	path, err := fetchModel(cmd.Context(), cmd.ErrOrStderr(), w.model)
	if err != nil {
		return nil, err
	}
	t := kvcache.Tier{QueueLen: math.MaxInt, QueueBytes: math.MaxInt64}
	if w.redis != "" {
		s, err := w.connect(cmd.Context())
		if err != nil {
			return nil, err
		}
		if err := s.Probe(cmd.Context()); err != nil {
			return nil, errors.Join(err, s.Close())
		}
		t.Store = s
	} else if t.Store, err = w.openToWrite(w.notes.listener()); err != nil {
		return nil, err
	}
	memory := int64(0) // what is encoded is written, and not looked at again
	if w.strategy == string(graphkv.DAG) {
		memory = 1 << 30 // but for sources
	}
	options := []graphkv.Option{
		graphkv.WithTier(t), graphkv.WithCacheBytes(memory), graphkv.WithKVFormat(w.format.Format), graphkv.WithEvents(w.notes.listener()),
	}
	if w.longContext {
		options = append(options, graphkv.WithLongContext())
	}
	return graphkv.Open(path, options...)
}
