// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package chat

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	statements "github.com/nikolalohinski/gonja/v2/builtins/control_structures"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// The engine parses expressions, this file evaluates them. Its own evaluator
// evaluates the object of a method twice, so that a chain of n calls costs 2ⁿ,
// and it can be neither metered nor stopped. Here every node is evaluated once
// and charged one step, every text is charged before it is made, and the first
// error ends the rendering.
type evaluator struct {
	*exec.Evaluator
	budget *budget
}

func (e evaluator) eval(node nodes.Node) (*exec.Value, error) {
	if err := e.budget.charge(1, 0); err != nil {
		return nil, err
	}
	switch n := node.(type) {
	case *nodes.None:
		return exec.AsValue(nil), nil
	case *nodes.String:
		return exec.AsValue(n.Val), nil
	case *nodes.Integer:
		return exec.AsValue(n.Val), nil
	case *nodes.Float:
		return exec.AsValue(n.Val), nil
	case *nodes.Bool:
		return exec.AsValue(n.Val), nil
	case *nodes.List:
		return e.list(n.Val)
	case *nodes.Tuple:
		return e.list(n.Val)
	case *nodes.Dict:
		return e.dict(n)
	case *nodes.Name:
		v, _ := e.Environment.Context.Get(n.Name.Val)
		return exec.ToValue(v), nil
	case *nodes.Call:
		return e.call(n)
	case *nodes.GetItem:
		return e.item(n)
	case *nodes.GetAttribute:
		target, err := e.eval(n.Node)
		if err != nil {
			return nil, err
		}
		if n.Attribute == "" {
			return e.index(target, n.Index)
		}
		return e.attribute(target, n.Attribute)
	case *nodes.GetSlice:
		return e.slice(n)
	case *nodes.Negation:
		v, err := e.eval(n.Term)
		if err != nil {
			return nil, err
		}
		return exec.AsValue(!truth(v)), nil
	case *nodes.UnaryExpression:
		return e.unary(n)
	case *nodes.BinaryExpression:
		return e.binary(n)
	case *nodes.FilteredExpression:
		return e.filtered(n)
	case *nodes.TestExpression:
		return e.test(n)
	}
	return nil, fmt.Errorf("an expression of type %T is not supported", node)
}

func (e evaluator) list(items []nodes.Expression) (*exec.Value, error) {
	out := make(sequence, len(items))
	for i, item := range items {
		v, err := e.eval(item)
		if err != nil {
			return nil, err
		}
		out[i] = v.Interface()
	}
	return exec.AsValue(out), nil
}

func (e evaluator) dict(n *nodes.Dict) (*exec.Value, error) {
	out := exec.NewDict()
	at := map[any]int{} // key → place in out
	for _, pair := range n.Pairs {
		key, err := e.eval(pair.Key)
		if err != nil {
			return nil, err
		}
		if !key.IsString() && !key.IsInteger() {
			return nil, errors.New("a key of a dict has to be a text or an integer")
		}
		v, err := e.eval(pair.Value)
		if err != nil {
			return nil, err
		}
		if i, ok := at[key.Interface()]; ok {
			out.Pairs[i].Value = v
			continue
		}
		at[key.Interface()] = len(out.Pairs)
		out.Pairs = append(out.Pairs, &exec.Pair{Key: key, Value: v})
	}
	return exec.AsValue(out), nil
}

// arguments evaluates the arguments of a call in a fixed order.
func (e evaluator) arguments(args []nodes.Expression, named map[string]nodes.Expression) (*exec.VarArgs, error) {
	out := exec.NewVarArgs()
	for _, a := range args {
		v, err := e.eval(a)
		if err != nil {
			return nil, err
		}
		out.Args = append(out.Args, v)
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		v, err := e.eval(named[name])
		if err != nil {
			return nil, err
		}
		out.KwArgs[name] = v
	}
	return out, nil
}

func (e evaluator) call(n *nodes.Call) (*exec.Value, error) {
	if attr, ok := n.Func.(*nodes.GetAttribute); ok && attr.Attribute != "" {
		self, err := e.eval(attr.Node)
		if err != nil {
			return nil, err
		}
		args, err := e.arguments(n.Args, n.Kwargs)
		if err != nil {
			return nil, err
		}
		return e.method(self, attr.Attribute, args)
	}
	callee, err := e.eval(n.Func)
	if err != nil {
		return nil, err
	}
	f, ok := callee.Interface().(function)
	if !ok {
		return nil, fmt.Errorf("%s is not a function", describe(n.Func))
	}
	args, err := e.arguments(n.Args, n.Kwargs)
	if err != nil {
		return nil, err
	}
	v, err := f(e.budget, args)
	return exec.ToValue(v), err
}

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

func (e evaluator) unary(n *nodes.UnaryExpression) (*exec.Value, error) {
	v, err := e.eval(n.Term)
	switch {
	case err != nil:
		return nil, err
	case v.IsInteger() && n.Negative:
		return exec.AsValue(-v.Integer()), nil
	case v.IsFloat() && n.Negative:
		return exec.AsValue(-v.Float()), nil
	case v.IsNumber():
		return v, nil
	}
	return nil, fmt.Errorf("a sign before something that is not a number")
}

func (e evaluator) binary(n *nodes.BinaryExpression) (*exec.Value, error) {
	left, err := e.eval(n.Left)
	if err != nil {
		return nil, err
	}
	op := n.Operator.Token
	switch {
	case op.Type == tokens.And && !truth(left), op.Type == tokens.Or && truth(left):
		return left, nil
	case op.Type == tokens.And, op.Type == tokens.Or:
		return e.eval(n.Right)
	}
	right, err := e.eval(n.Right)
	if err != nil {
		return nil, err
	}
	switch op.Type {
	case tokens.Equals, tokens.Ne:
		same, err := e.equal(left, right)
		return exec.AsValue(same == (op.Type == tokens.Equals)), err
	case tokens.In:
		found, err := e.contains(right, left)
		return exec.AsValue(found), err
	case tokens.Tilde:
		if err := errors.Join(e.budget.chargeValue(left, 0), e.budget.chargeValue(right, 0)); err != nil {
			return nil, err
		}
		return exec.AsValue(left.String() + right.String()), nil
	}
	var v any
	switch {
	case left.IsString() && right.IsString():
		if err := errors.Join(e.chargeText(left), e.chargeText(right)); err != nil {
			return nil, err
		}
		if op.Type == tokens.Addition {
			v = left.String() + right.String()
		} else {
			v = ordered(op.Type, strings.Compare(left.String(), right.String()))
		}
	case left.IsList() && right.IsList() && op.Type == tokens.Addition:
		if err := e.budget.charge(0, 16*(left.Len()+right.Len())); err != nil {
			return nil, err
		}
		out := make(sequence, 0, left.Len()+right.Len())
		for _, l := range []*exec.Value{left, right} {
			for i := range l.Len() {
				out = append(out, l.Index(i).Interface())
			}
		}
		v = out
	case left.IsInteger() && right.IsInteger():
		v, err = integers(op.Type, left.Integer(), right.Integer())
	case left.IsNumber() && right.IsNumber():
		v, err = floats(op.Type, left.Float(), right.Float())
	}
	if err == nil && v == nil {
		err = fmt.Errorf("the operator %s between %s and %s is not supported", op.Val, describe(n.Left), describe(n.Right))
	}
	return exec.AsValue(v), err
}

// integers is Python's arithmetic: // and % round down.
func integers(op tokens.Type, a, b int) (any, error) {
	switch op {
	case tokens.Addition:
		return a + b, nil
	case tokens.Subtraction:
		return a - b, nil
	case tokens.Division, tokens.FloorDivision, tokens.Modulo:
		if b == 0 {
			return nil, errors.New("division by zero")
		}
		if op == tokens.Division {
			return float64(a) / float64(b), nil
		}
		q, r := a/b, a%b
		if r != 0 && (r < 0) != (b < 0) {
			q, r = q-1, r+b
		}
		if op == tokens.Modulo {
			return r, nil
		}
		return q, nil
	}
	c := 0
	switch {
	case a < b:
		c = -1
	case a > b:
		c = 1
	}
	return ordered(op, c), nil
}

func floats(op tokens.Type, a, b float64) (any, error) {
	switch op {
	case tokens.Addition:
		return a + b, nil
	case tokens.Subtraction:
		return a - b, nil
	case tokens.Division, tokens.FloorDivision:
		if b == 0 {
			return nil, errors.New("division by zero")
		}
		if op == tokens.Division {
			return a / b, nil
		}
		return math.Floor(a / b), nil
	case tokens.LowerThan:
		return a < b, nil
	case tokens.LowerThanOrEqual:
		return a <= b, nil
	case tokens.GreaterThan:
		return a > b, nil
	case tokens.GreaterThanOrEqual:
		return a >= b, nil
	}
	return nil, nil
}

// ordered turns the sign of a comparison into its truth; nil if op is none.
func ordered(op tokens.Type, c int) any {
	switch op {
	case tokens.LowerThan:
		return c < 0
	case tokens.LowerThanOrEqual:
		return c <= 0
	case tokens.GreaterThan:
		return c > 0
	case tokens.GreaterThanOrEqual:
		return c >= 0
	}
	return nil
}

func (e evaluator) filtered(n *nodes.FilteredExpression) (*exec.Value, error) {
	v, err := e.eval(n.Expression)
	if err != nil {
		return nil, err
	}
	for _, f := range n.Filters {
		args, err := e.arguments(f.Args, f.Kwargs)
		if err != nil {
			return nil, err
		}
		if v = e.ExecuteFilterByName(f.Name, v, args); v.IsError() {
			return nil, v.Interface().(error)
		}
	}
	return v, nil
}

func (e evaluator) test(n *nodes.TestExpression) (*exec.Value, error) {
	v, err := e.eval(n.Expression)
	if err != nil {
		return nil, err
	}
	args, err := e.arguments(n.Test.Args, n.Test.Kwargs)
	if err != nil {
		return nil, err
	}
	if v = e.ExecuteTestByName(n.Test.Name, v, args); v.IsError() {
		return nil, v.Interface().(error)
	}
	return v, nil
}

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
