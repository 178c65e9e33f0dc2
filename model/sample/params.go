// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package sample

import (
	"fmt"
	"math"
)

// Params says how tokens are drawn. The zero value is greedy.
type Params struct {
	// Temperature divides the logits before the draw, ≥ 0 and finite. 0 is greedy: the largest logit, the lowest id among equals,
	// whatever the other fields say.
	Temperature float64
	// TopK keeps the k largest logits, among equals those of the lowest ids. 0: all.
	TopK int
	// TopP keeps the fewest tokens whose probabilities, summed from the largest down, reach it; 0 to 1. 0 and 1: all.
	TopP float64
	// MinP keeps tokens at least MinP times as probable as the most probable one; 0 to 1. 0: all.
	MinP float64
	// Seed fixes the sequence of draws.
	Seed uint64
}

// ParamError reports a field of Params outside its range.
type ParamError struct {
	Field string // its name in Params
	Value any
	Want  string // the range
}

// Error names the field, its value and its range.
func (e *ParamError) Error() string {
	return fmt.Sprintf("sample: %s is %v, want %s", e.Field, e.Value, e.Want)
}

func (p Params) validate() error {
	if !(p.Temperature >= 0) || math.IsInf(p.Temperature, 1) {
		return &ParamError{"Temperature", p.Temperature, "a finite number of at least 0"}
	}
	if p.TopK < 0 {
		return &ParamError{"TopK", p.TopK, "at least 0"}
	}
	if !(p.TopP >= 0 && p.TopP <= 1) {
		return &ParamError{"TopP", p.TopP, "0 to 1"}
	}
	if !(p.MinP >= 0 && p.MinP <= 1) {
		return &ParamError{"MinP", p.MinP, "0 to 1"}
	}
	return nil
}
