// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package chat

import (
	"slices"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/exec"
)

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
		if err := ev.chargeArguments(params); err != nil {
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
