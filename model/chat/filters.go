// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package chat

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/exec"
)

// The engine's filters that a template may use. Text filters read their whole
// input and may print a list to do so; list filters pass on references to the
// elements, value filters look at one value.
// None makes more than a few bytes out of one, apart from join and replace,
// which are bounded below.
var (
	textFilters  = []string{"capitalize", "float", "int", "join", "lower", "replace", "string", "title", "upper"}
	listFilters  = []string{"items", "list", "map", "reject", "rejectattr", "select", "selectattr"}
	valueFilters = []string{"count", "d", "default", "first", "last", "length", "safe"}
)

func filterSet() *exec.FilterSet {
	set := map[string]exec.FilterFunction{
		"trim":    charged(trimFilter, text),
		"reverse": charged(reverseFilter, list),
	}
	for _, name := range textFilters {
		inner := engineFilter(name)
		switch name {
		case "join":
			inner = bounded(inner, joinedBytes)
		case "replace":
			inner = bounded(inner, replacedBytes)
		}
		set[name] = charged(inner, text)
	}
	for _, name := range listFilters {
		set[name] = charged(engineFilter(name), list)
	}
	for _, name := range valueFilters {
		set[name] = charged(engineFilter(name), value)
	}
	return exec.NewFilterSet(set)
}

func engineFilter(name string) exec.FilterFunction {
	f, ok := builtins.Filters.Get(name)
	if !ok {
		panic("chat: the template engine has no filter " + name)
	}
	return f
}

// kind says how the cost of a filter grows.
type kind uint8

const (
	value kind = iota
	list
	text
)

// charged charges a filter's input and arguments before it runs, a text
// filter's by their size and a list filter's by their length, and texts it
// returns.
func charged(f exec.FilterFunction, k kind) exec.FilterFunction {
	return func(e *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
		ev := evaluator{e, budgetOf(e.Environment)}
		if err := ev.chargeFilter(in, params, k); err != nil {
			return exec.AsValue(err)
		}
		out := f(e, in, params)
		if out.IsError() {
			return out
		}
		if k == text || out.IsString() {
			if err := ev.budget.chargeValue(out, 0); err != nil {
				return exec.AsValue(err)
			}
		}
		return out
	}
}

func (e evaluator) chargeFilter(in *exec.Value, params *exec.VarArgs, k kind) error {
	if err := e.budget.charge(1, 0); err != nil {
		return err
	}
	if k == text || in.IsString() {
		if err := e.budget.chargeValue(in, 0); err != nil {
			return err
		}
	}
	times := 1 // that the arguments may be read
	if k == list {
		times = length(in)
		if err := e.budget.charge(times, 0); err != nil {
			return err
		}
	}
	return e.chargeArguments(params, times)
}

// chargeArguments charges texts that are read so many times.
func (e evaluator) chargeArguments(params *exec.VarArgs, times int) error {
	n := 0
	for _, a := range params.Args {
		if a.IsString() {
			n += len(a.String())
		}
	}
	for _, a := range params.KwArgs {
		if a.IsString() {
			n += len(a.String())
		}
	}
	if n > 0 && times > math.MaxInt/n {
		times = math.MaxInt / n
	}
	return e.budget.charge(0, n*times)
}

// bounded charges the size of a filter's result before it is made.
func bounded(f exec.FilterFunction, size func(in *exec.Value, params *exec.VarArgs) int) exec.FilterFunction {
	return func(e *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
		if err := budgetOf(e.Environment).charge(0, size(in, params)); err != nil {
			return exec.AsValue(err)
		}
		return f(e, in, params)
	}
}

// joinedBytes is what the separators of a join take.
func joinedBytes(in *exec.Value, params *exec.VarArgs) int {
	if !in.IsIterable() {
		return 0
	}
	sep := params.First()
	if len(params.Args) == 0 {
		sep = params.GetKeywordArgument("d", "")
	}
	if !sep.IsString() {
		return math.MaxInt // no separator of sense
	}
	return in.Len() * len(sep.String())
}

// replacedBytes is the size of a text after a replacement.
func replacedBytes(in *exec.Value, params *exec.VarArgs) int {
	var arg [2]*exec.Value
	for i, name := range []string{"old", "new"} {
		arg[i] = params.GetKeywordArgument(name, "")
		if i < len(params.Args) {
			arg[i] = params.Args[i]
		}
		if !arg[i].IsString() {
			return 0 // refused by the filter
		}
	}
	s := in.String()
	return len(s) + strings.Count(s, arg[0].String())*len(arg[1].String())
}

// reverseFilter is the engine's, which sorts lists, put right.
func reverseFilter(_ *exec.Evaluator, in *exec.Value, _ *exec.VarArgs) *exec.Value {
	if in.IsString() {
		r := []rune(in.String())
		slices.Reverse(r)
		return exec.AsValue(string(r))
	}
	if !in.IsList() {
		return exec.AsValue(fmt.Errorf("reverse takes a list or a text"))
	}
	out := make(sequence, in.Len())
	for i := range out {
		out[len(out)-1-i] = in.Index(i).Interface()
	}
	return exec.AsValue(out)
}

func trimFilter(_ *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
	chars := params.GetKeywordArgument("chars", nil)
	if len(params.Args) > 0 {
		chars = params.Args[0]
	}
	if chars.IsNil() {
		return exec.AsValue(strip(in.String(), isSpace, true, true))
	}
	if !chars.IsString() {
		return exec.AsValue(fmt.Errorf("trim takes the characters as a text"))
	}
	return exec.AsValue(strip(in.String(), oneOf(chars.String()), true, true))
}

// The engine's tests that a template may use: of the kind of a value, of a
// number or a comparison of numbers, and those that read texts.
var (
	kindTests = []string{
		"boolean", "callable", "defined", "divisibleby", "even", "false", "float", "ge", ">=", "gt", "greaterthan", ">",
		"integer", "iterable", "le", "<=", "lt", "lessthan", "<", "mapping", "none", "number", "odd", "sameas", "sequence",
		"string", "true", "undefined",
	}
	textTests = []string{"lower", "upper"}
)

// test is the engine's type of a test, all of which get this form here.
type test = func(e *exec.Evaluator, in *exec.Value, params *exec.VarArgs) (bool, error)

func testSet() *exec.TestSet {
	set := map[string]exec.TestFunction{}
	comparison := func(f func(e evaluator, in, arg *exec.Value) (bool, error)) test {
		return func(e *exec.Evaluator, in *exec.Value, params *exec.VarArgs) (bool, error) {
			return f(evaluator{e, budgetOf(e.Environment)}, in, params.First())
		}
	}
	for _, name := range []string{"eq", "equalto", "=="} {
		set[name] = comparison(evaluator.equal)
	}
	for _, name := range []string{"ne", "!="} {
		set[name] = comparison(func(e evaluator, in, arg *exec.Value) (bool, error) {
			same, err := e.equal(in, arg)
			return !same, err
		})
	}
	set["in"] = comparison(func(e evaluator, in, arg *exec.Value) (bool, error) { return e.contains(arg, in) })
	for _, name := range append(slices.Clone(kindTests), textTests...) {
		set[name] = chargedTest(name)
	}
	return exec.NewTestSet(set)
}

func chargedTest(name string) test {
	f, ok := builtins.Tests.Get(name)
	if !ok {
		panic("chat: the template engine has no test " + name)
	}
	inner, ok := f.(func(*exec.Context, *exec.Value, *exec.VarArgs) (bool, error))
	if !ok {
		panic("chat: the template engine has another form of the test " + name)
	}
	reads := slices.Contains(textTests, name)
	return func(e *exec.Evaluator, in *exec.Value, params *exec.VarArgs) (bool, error) {
		ev := evaluator{e, budgetOf(e.Environment)}
		if err := ev.chargeArguments(params, 1); err != nil {
			return false, err
		}
		if reads {
			if err := ev.chargeText(in); err != nil {
				return false, err
			}
		}
		return inner(e.Environment.Context, in, params)
	}
}
