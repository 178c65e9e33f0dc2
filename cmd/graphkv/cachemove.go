// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/graphkv/graphkv/kvcache"
)

func newExport() *cobra.Command {
	f := &folder{}
	var model string
	cmd := &cobra.Command{
		Use:   "export [file]",
		Short: "Write what is stored to one file or to standard output",
		Long: `Write all entries, or those of a model, as one stream that "import" reads: to a file, or
to standard output. Every entry is verified before it is written; a damaged one goes to
the quarantine instead. Nothing is compressed: KVs hardly can be.`,
		Example: `  graphkv cache export kv.archive
  graphkv cache export | ssh other graphkv cache import`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			match, err := modelFilter(cmd.Context(), model)
			if err != nil {
				return err
			}
			s, err := f.openToLook()
			if err != nil {
				return err
			}
			defer s.Close()
			p := newProgress(cmd.ErrOrStderr(), "exporting", s.Metrics().Bytes)
			defer p.end()
			n, bytes := 0, int64(0)
			write := func(out io.Writer) error {
				w := bufio.NewWriterSize(out, 1<<20)
				n, err = s.Export(cmd.Context(), counter{w, func(n int) { bytes += int64(n); p.update(bytes, "") }}, match)
				if err != nil {
					return err
				}
				return w.Flush()
			}
			switch out := cmd.OutOrStdout(); {
			case len(args) > 0 && args[0] != "-":
				err = writeFile(args[0], write)
			case isTerminal(out):
				err = errors.New("an archive is not for a terminal; name a file, or send it through a pipe")
			default:
				err = write(out)
			}
			if err != nil {
				return err
			}
			p.end()
			fmt.Fprintf(cmd.ErrOrStderr(), "%d entries exported, %v\n", n, size(bytes))
			if bad := s.Metrics().Corrupt; bad > 0 {
				return fmt.Errorf("%d damaged files were left out and are in quarantine, in %s", bad, f.dir)
			}
			return nil
		},
	}
	f.flags(cmd)
	cmd.Flags().StringVar(&model, "model", "", modelFilterHelp)
	return cmd
}

// writeFile makes a file of what write writes, or none: half an archive is of no use.
func writeFile(path string, write func(io.Writer) error) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err = errors.Join(write(file), file.Close()); err != nil {
		os.Remove(path)
	}
	return err
}

// counter tells how much was written.
type counter struct {
	io.Writer
	wrote func(n int)
}

func (c counter) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.wrote(n)
	return n, err
}

func newImport() *cobra.Command {
	f := &folder{}
	cmd := &cobra.Command{
		Use:   "import [file]",
		Short: "Take in what export wrote, from a file or standard input",
		Long: `Take in the entries of an archive: from a file, or from standard input. Checksums are
compared on the way, and an archive that breaks off leaves what came before. What cannot
be checked is that a KV is what its key stands for: import only from where you would take
a program from.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			in := cmd.InOrStdin()
			var total int64 = -1
			if len(args) > 0 && args[0] != "-" {
				file, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer file.Close()
				if info, err := file.Stat(); err == nil {
					total = info.Size()
				}
				in = file
			}
			s, err := f.openToWrite(kvcache.EventListener{})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.Close()) }()
			p := newProgress(cmd.ErrOrStderr(), "importing", total)
			var bytes int64
			r := &interruptible{ctx: cmd.Context(), r: in, read: func(n int) { bytes += int64(n); p.update(bytes, "") }}
			kept, err := s.Import(cmd.Context(), bufio.NewReaderSize(r, 1<<20))
			p.end()
			m := s.Metrics()
			fmt.Fprintf(cmd.OutOrStdout(), "%d entries imported, %v\n", kept, size(m.WriteBytes))
			if lost := m.Rejected + m.Evictions; lost > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "%d entries, old or new, had to go to keep the budget of %v (--cache-budget)\n", lost, f.budget)
			}
			return err
		},
	}
	f.flags(cmd)
	f.budgetFlag()
	return cmd
}

// interruptible reads until ctx ends, even if r has nothing to say. It must not be read after that.
type interruptible struct {
	ctx  context.Context
	r    io.Reader
	read func(n int)
}

func (i *interruptible) Read(b []byte) (int, error) {
	type outcome struct {
		n   int
		err error
	}
	buf := make([]byte, len(b)) // not b: a read that nobody waits for any more must not write to it
	done := make(chan outcome, 1)
	go func() {
		n, err := i.r.Read(buf)
		done <- outcome{n, err}
	}()
	select {
	case o := <-done:
		i.read(o.n)
		return copy(b, buf[:o.n]), o.err
	case <-i.ctx.Done():
		return 0, i.ctx.Err()
	}
}
