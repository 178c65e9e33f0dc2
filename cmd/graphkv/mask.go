// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/mask/exchange"
)

func newMask() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mask",
		Short: "Exchange masks with PyTorch, FlashInfer, SciPy, Hugging Face and llama.cpp",
	}
	cmd.AddCommand(newMaskExport(), newMaskShow())
	return cmd
}

// sequences is the one form that is no mask of tokens by tokens: the steps of llama.cpp.
const sequences exchange.Format = "sequences"

// maskExport is the state of a run of mask export.
type maskExport struct {
	input
	out, form string
	block     int
	limit     size
	infinite  bool
}

func newMaskExport() *cobra.Command {
	e := &maskExport{limit: exchange.DefaultMaxBytes}
	cmd := &cobra.Command{
		Use:   "export [question] --out FILE",
		Short: "Write the mask of a request or plan for another tool",
		Long: `Write the attention mask of a request or plan, over all tokens of its nodes in the order
in which "graphkv plan" lists them. The ending of FILE says what kind of file it is:
.safetensors, .npz, or for dense and additive .npy.

  flex        the tensors of FlexAttention's BlockMask, and the bits of its partial blocks
  flashinfer  the arguments of FlashInfer's BlockSparseAttentionWrapper
  csr         a SciPy csr_matrix of tokens (.npz)
  csr-blocks  a SciPy csr_matrix of blocks, and the bits of the partial ones (.npz)
  dense       booleans, tokens by tokens
  additive    floats to be added to scores, [1, heads, tokens, tokens], as Hugging Face takes them
  sequences   steps with which llama.cpp encodes the same graph (.json)`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return e.run(args) },
	}
	e.flags(cmd)
	f := cmd.Flags()
	f.StringVarP(&e.out, "out", "o", "", "file to write")
	f.StringVar(&e.form, "format", string(exchange.Flex), "what to write, see above")
	f.IntVar(&e.block, "block", exchange.DefaultBlockSize, "tokens per side of a block")
	f.Var(&e.limit, "max-size", "refuse what takes more")
	f.BoolVar(&e.infinite, "infinite", false, "hide tokens by −Inf in an additive mask, not by the most negative finite number")
	if err := cmd.MarkFlagRequired("out"); err != nil {
		panic(err)
	}
	return cmd
}

// containers are the kinds of files by their ending.
var containers = map[string]exchange.Container{".safetensors": exchange.Safetensors, ".npz": exchange.NPZ, ".npy": exchange.NPY}

func (e *maskExport) run(args []string) error {
	ending := filepath.Ext(e.out)
	container, ok := containers[ending]
	if form := exchange.Format(e.form); form == sequences && ending != ".json" || form != sequences && !ok {
		return fmt.Errorf("--out %s: a mask goes to a .safetensors, .npz or .npy file, sequences to a .json file", e.out)
	}
	p, _, err := e.compile(args)
	if err != nil {
		return err
	}
	if p, err = p.Lower(nil); err != nil { // names and tokens are then those of the mask
		return err
	}
	if exchange.Format(e.form) == sequences {
		return e.sequences(p)
	}
	m, err := p.Mask(e.block)
	if err != nil {
		return err
	}
	o := exchange.WriteOptions{Container: container, MaxBytes: int64(e.limit), Infinite: e.infinite, Name: p.ID}
	written, err := replace(e.out, func(w io.Writer) error { return exchange.Write(w, m, exchange.Format(e.form), o) })
	if err != nil {
		return err
	}
	w := e.cmd.OutOrStdout()
	fmt.Fprintf(w, "%s: %v, %v\n", e.out, m, size(written))
	if _, err := exchange.PositionIDs(p.Layout(), p.ID); err != nil {
		fmt.Fprintf(w, "It has no position_ids: %s\n", strings.TrimPrefix(err.Error(), "exchange: "))
	}
	return nil
}

func (e *maskExport) sequences(p *graphkv.Plan) error {
	tokens := make([][]int32, p.Len())
	for i := range tokens {
		tokens[i] = p.Tokens(i)
	}
	s, err := exchange.PlanSequences(p.Layout(), tokens, 0, p.ID)
	if err != nil {
		return err
	}
	if _, err := replace(e.out, func(w io.Writer) error { return json.NewEncoder(w).Encode(s) }); err != nil {
		return err
	}
	fmt.Fprintf(e.cmd.OutOrStdout(), "%s: %d steps in %d sequences over %d cells\n", e.out, len(s.Steps), s.Sequences, s.Cells)
	return nil
}

// replace writes a file under another name and renames it when it is complete, and returns its size.
func replace(path string, write func(w io.Writer) error) (n int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	err = write(f)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		n, err = f.Seek(0, io.SeekCurrent)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, err
	}
	return n, os.Rename(f.Name(), path)
}

func newMaskShow() *cobra.Command {
	o := exchange.ReadOptions{}
	limit := size(exchange.DefaultMaxBytes)
	cmd := &cobra.Command{
		Use:   "show FILE",
		Short: "Describe and draw a mask that this command or another tool has written",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.MaxBytes = int64(limit)
			return showMask(cmd.OutOrStdout(), args[0], o)
		},
	}
	cmd.Flags().IntVar(&o.BlockSize, "block", exchange.DefaultBlockSize, "tokens per side of a block, where the file does not say")
	cmd.Flags().Var(&limit, "max-size", "refuse what takes more")
	return cmd
}

func showMask(w io.Writer, path string, o exchange.ReadOptions) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() > o.MaxBytes {
		return fmt.Errorf("%s has %v, the limit is %v; raise --max-size", path, size(info.Size()), size(o.MaxBytes))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var m *exchange.Matrix
	if bytes.HasPrefix(data, []byte("{")) {
		s, err := exchange.ParseSequences(data)
		if err != nil {
			return err
		}
		if m, err = s.Matrix(o); err != nil {
			return err
		}
		fmt.Fprintf(t, "format\t%s\nsteps\t%d in %d sequences over %d cells\n", sequences, len(s.Steps), s.Sequences, s.Cells)
	} else {
		f, err := exchange.Read(data, o)
		if err != nil {
			return err
		}
		m = f.Matrix
		fmt.Fprintf(t, "format\t%s in %s\n", f.Format, f.Container)
		if f.Heads > 1 || f.Bias != nil {
			fmt.Fprintf(t, "heads\t%d\n", f.Heads)
		}
		if f.Bias != nil {
			fmt.Fprintln(t, "biases\tyes")
		}
		switch why := f.Metadata["position_ids"]; {
		case f.PositionIDs != nil:
			last := f.PositionIDs[len(f.PositionIDs)-1]
			fmt.Fprintf(t, "positions\tone per token, the last token's is %d\n", last)
		case why != "":
			fmt.Fprintf(t, "positions\t%s\n", why)
		default:
			fmt.Fprintln(t, "positions\tnot in the file")
		}
	}
	fmt.Fprintf(t, "mask\t%v\n", m)
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s", m.Picture(2*pictureBlocks))
	return nil
}
