// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/graphkv/graphkv/model/tokenizer"
)

func newTokenize() *cobra.Command {
	var model string
	var special, decode bool
	cmd := &cobra.Command{
		Use:   "tokenize [text]",
		Short: "Turn text into token ids and back",
		Long: `Print the token ids of a text, given as an argument or on standard input, as a JSON
array. With --decode, read ids (a JSON array, or numbers apart) and print the text.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			text := strings.Join(args, " ")
			if len(args) == 0 {
				data, err := readAll(cmd.Context(), cmd.InOrStdin())
				if err != nil {
					return err
				}
				text = string(data)
			}
			f, _, err := openModel(cmd, model)
			if err != nil {
				return err
			}
			defer f.Close()
			t, err := tokenizer.FromGGUF(f)
			if err != nil {
				return err
			}
			if !decode {
				return printJSON(cmd.OutOrStdout(), append([]int32{}, t.Encode(nil, text, special)...))
			}
			ids, err := parseIDs(text, t.Vocab())
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), t.Decode(ids))
			return err
		},
	}
	cmd.Flags().StringVarP(&model, "model", "m", defaultModel, "built-in model name, hf:owner/repo/file.gguf, or a GGUF file")
	cmd.Flags().BoolVar(&special, "special", false, "parse special tokens that the text spells out")
	cmd.Flags().BoolVar(&decode, "decode", false, "turn ids into text")
	return cmd
}

// parseIDs reads a JSON array, or numbers between spaces and commas.
func parseIDs(text string, vocab int) ([]int32, error) {
	text = strings.TrimSpace(text)
	if !strings.HasPrefix(text, "[") {
		text = "[" + strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }), ",") + "]"
	}
	var ids []int32
	if err := json.Unmarshal([]byte(text), &ids); err != nil {
		return nil, fmt.Errorf("token ids: %w", err)
	}
	for _, id := range ids {
		if id < 0 || int(id) >= vocab {
			return nil, fmt.Errorf("token id %d is not in the vocabulary of %d", id, vocab)
		}
	}
	return ids, nil
}
