// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// ParseSequences reads the JSON form of a plan. Unknown names are an error. Whether the steps follow llama.cpp's rules is
// checked by [Sequences.Matrix].
func ParseSequences(data []byte) (*Sequences, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	p := new(Sequences)
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("exchange: sequences: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("exchange: sequences: something follows the JSON value")
	}
	return p, nil
}
