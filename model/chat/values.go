// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package chat

import (
	"errors"
	"strings"

	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
)

// equal is ==. What is compared is read, and so it is charged.
func (e evaluator) equal(a, b *exec.Value) (bool, error) {
	if !isData(a) || !isData(b) {
		return false, errors.New("only texts, numbers, lists and dicts can be compared")
	}
	if a.IsString() != b.IsString() || a.IsList() != b.IsList() || a.IsDict() != b.IsDict() {
		return false, nil
	}
	if err := errors.Join(e.budget.chargeValue(a, 0), e.budget.chargeValue(b, 0)); err != nil {
		return false, err
	}
	if a.IsDict() {
		if err := e.budget.charge(length(a), 0); err != nil {
			return false, err
		}
	}
	return a.EqualValueTo(b), nil
}

// contains is the operator in.
func (e evaluator) contains(in, what *exec.Value) (bool, error) {
	switch t := in.Interface().(type) {
	case map[string]any:
		_, ok := t[what.String()]
		return ok && what.IsString(), nil
	case namespace:
		return false, errors.New("a namespace cannot be searched")
	}
	switch {
	case in.IsNil():
		return false, nil
	case in.IsString() && what.IsString():
		if err := errors.Join(e.chargeText(in), e.chargeText(what)); err != nil {
			return false, err
		}
		return strings.Contains(in.String(), what.String()), nil
	case in.IsDict():
		if err := errors.Join(e.budget.charge(length(in), 0), e.chargeText(what)); err != nil {
			return false, err
		}
		for _, k := range in.Keys() {
			if same, err := e.equal(k, what); same || err != nil {
				return same, err
			}
		}
		return false, nil
	case in.IsList():
		for i := range in.Len() {
			if same, err := e.equal(in.Index(i), what); same || err != nil {
				return same, err
			}
		}
		return false, nil
	}
	return false, errors.New("the operator in needs a list or dict, or two texts")
}

// chargeText charges the size of a text; of other values nothing.
func (e evaluator) chargeText(v *exec.Value) error {
	if !v.IsString() {
		return e.budget.charge(0, 0)
	}
	return e.budget.chargeValue(v, 0)
}

// length is what it costs to walk over the elements of a value, in steps.
func length(v *exec.Value) int {
	switch t := v.Interface().(type) {
	case *exec.Dict:
		return len(t.Pairs) * len(t.Pairs) // each is searched for
	case map[string]any:
		return len(t)
	case namespace:
		return len(t)
	}
	if v.IsString() {
		return len(v.String())
	}
	return v.Len()
}

// truth is Python's bool().
func truth(v *exec.Value) bool {
	if d, ok := v.Interface().(*exec.Dict); ok {
		return len(d.Pairs) > 0
	}
	return v.IsTrue()
}

// isData tells the values of the template from loop and functions.
func isData(v *exec.Value) bool {
	return v.IsNil() || v.IsString() || v.IsBool() || v.IsNumber() || v.IsList() || v.IsDict()
}

// describe names an expression in an error.
func describe(n nodes.Node) string {
	switch n := n.(type) {
	case *nodes.Name:
		return clip(n.Name.Val)
	case *nodes.GetAttribute:
		return "." + clip(n.Attribute)
	case *nodes.String:
		return "a text"
	}
	return "an expression"
}

const clipped = 200

// clip keeps foreign text in an error short.
func clip(s string) string {
	if len(s) > clipped {
		return strings.ToValidUTF8(s[:clipped], "") + "…"
	}
	return s
}
