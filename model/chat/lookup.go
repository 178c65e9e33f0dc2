// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package chat

import (
	"errors"
	"fmt"
	"math"
	"strings"

	statements "github.com/nikolalohinski/gonja/v2/builtins/control_structures"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
)

func (e evaluator) item(n *nodes.GetItem) (*exec.Value, error) {
	target, err := e.eval(n.Node)
	if err != nil {
		return nil, err
	}
	if n.Arg == nil {
		return nil, errors.New("an index is missing between the brackets")
	}
	key, err := e.eval(n.Arg)
	switch {
	case err != nil:
		return nil, err
	case key.IsInteger():
		return e.index(target, key.Integer())
	case key.IsString():
		return e.attribute(target, key.String())
	}
	return nil, errors.New("an index has to be a text or an integer")
}

// index is target[i] for an integer; what is not there is undefined.
func (e evaluator) index(target *exec.Value, i int) (*exec.Value, error) {
	if target.IsNil() {
		return nil, fmt.Errorf("element %d of something undefined", i)
	}
	if d, ok := target.Interface().(*exec.Dict); ok {
		if err := e.budget.charge(len(d.Pairs), 0); err != nil {
			return nil, err
		}
		return d.Get(exec.AsValue(i)), nil
	}
	if !target.CanSlice() {
		return exec.AsValue(nil), nil
	}
	if err := e.chargeText(target); err != nil {
		return nil, err
	}
	n := target.Len()
	if i < 0 {
		i += n
	}
	if i < 0 || i >= n {
		return exec.AsValue(nil), nil
	}
	return target.Index(i), nil
}

// attribute is target.name and target['name']; what is not there is undefined.
func (e evaluator) attribute(target *exec.Value, name string) (*exec.Value, error) {
	if target.IsNil() {
		return nil, fmt.Errorf("%q of something undefined", clip(name))
	}
	var v any
	switch t := target.Interface().(type) {
	case map[string]any:
		v = t[name]
	case namespace:
		v = t[name]
	case *exec.Dict:
		if err := e.budget.charge(len(t.Pairs), 0); err != nil {
			return nil, err
		}
		v = t.Get(exec.AsValue(name))
	case *statements.LoopInfos:
		if name != "cycle" && name != "changed" { // these are methods
			v, _ = t.GetAttribute(name)
		}
	}
	return exec.ToValue(v), nil
}

// slice is target[start:end:step] as in Python.
func (e evaluator) slice(n *nodes.GetSlice) (*exec.Value, error) {
	target, err := e.eval(n.Node)
	if err != nil {
		return nil, err
	}
	if !target.CanSlice() {
		return nil, fmt.Errorf("%s is neither a list nor a text to slice", describe(n.Node))
	}
	if err := e.chargeText(target); err != nil {
		return nil, err
	}
	bound := func(node nodes.Node, otherwise int) (int, error) {
		if node == nil {
			return otherwise, nil
		}
		v, err := e.eval(node)
		if err != nil || v.IsNil() {
			return otherwise, err
		}
		if !v.IsInteger() {
			return 0, errors.New("a bound of a slice is not an integer")
		}
		return v.Integer(), nil
	}
	size := target.Len()
	step, err := bound(n.Step, 1)
	if err != nil {
		return nil, err
	}
	if step == 0 {
		return nil, errors.New("a slice with a step of zero")
	}
	step = max(-size-1, min(step, size+1)) // so that no index overflows
	first, last := 0, size                 // the smallest and largest bound
	start, end := 0, size
	if step < 0 {
		first, last = -1, size-1
		start, end = last, first
	}
	given := func(node nodes.Node, otherwise int) (int, error) {
		i, err := bound(node, math.MinInt)
		if err != nil || i == math.MinInt {
			return otherwise, err
		}
		if i < 0 {
			i = max(i+size, first)
		}
		return max(first, min(i, last)), nil
	}
	if start, err = given(n.Start, start); err != nil {
		return nil, err
	}
	if end, err = given(n.End, end); err != nil {
		return nil, err
	}
	if target.IsString() {
		runes := []rune(target.String())
		var out strings.Builder
		for i := start; step > 0 && i < end || step < 0 && i > end; i += step {
			out.WriteRune(runes[i])
		}
		return exec.AsValue(out.String()), nil
	}
	out := sequence{}
	for i := start; step > 0 && i < end || step < 0 && i > end; i += step {
		if err := e.budget.charge(0, 16); err != nil {
			return nil, err
		}
		out = append(out, target.Index(i).Interface())
	}
	return exec.AsValue(out), nil
}
