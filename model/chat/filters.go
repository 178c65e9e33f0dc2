// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package chat

import (
	"fmt"
	"strings"
	"unicode"

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
	listFilters  = []string{"items", "list", "map", "reject", "rejectattr", "reverse", "select", "selectattr"}
	valueFilters = []string{"count", "d", "default", "first", "last", "length", "safe"}
)

func filterSet() *exec.FilterSet {
	set := map[string]exec.FilterFunction{
		"trim": charged(trimFilter, text),
		meterLen: func(e *exec.Evaluator, in *exec.Value, _ *exec.VarArgs) *exec.Value {
			if in.IsError() {
				return in
			}
			n := 1
			if in.IsIterable() {
				n += in.Len()
			}
			return afterCharge(e, n, in)
		},
		meterOne: func(e *exec.Evaluator, in *exec.Value, _ *exec.VarArgs) *exec.Value {
			return afterCharge(e, 1, in)
		},
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

func afterCharge(e *exec.Evaluator, steps int, v *exec.Value) *exec.Value {
	if err := budgetOf(e.Environment).charge(steps, 0); err != nil {
		return exec.AsValue(err)
	}
	return v
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

// charged charges a filter's input before it runs, a text filter's by its size
// and a list filter's by its length, and texts it returns.
func charged(f exec.FilterFunction, k kind) exec.FilterFunction {
	return func(e *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
		if in.IsError() {
			return in
		}
		b := budgetOf(e.Environment)
		steps := 1
		if k == list && in.IsIterable() {
			steps += in.Len()
		}
		if err := b.charge(steps, 0); err != nil {
			return exec.AsValue(err)
		}
		if k == text || in.IsString() {
			if err := b.chargeValue(in, 0); err != nil {
				return exec.AsValue(err)
			}
		}
		out := f(e, in, params)
		if out.IsError() {
			return out
		}
		if k == text || out.IsString() {
			if err := b.chargeValue(out, 0); err != nil {
				return exec.AsValue(err)
			}
		}
		return out
	}
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
	return in.Len() * len(sep.String())
}

// replacedBytes is the size of a text after a replacement.
func replacedBytes(in *exec.Value, params *exec.VarArgs) int {
	arg := func(i int, name string) string {
		if i < len(params.Args) {
			return params.Args[i].String()
		}
		return params.GetKeywordArgument(name, "").String()
	}
	s, from, to := in.String(), arg(0, "old"), arg(1, "new")
	return len(s) + strings.Count(s, from)*len(to)
}

func trimFilter(_ *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
	chars := params.GetKeywordArgument("chars", nil)
	if len(params.Args) > 0 {
		chars = params.Args[0]
	}
	return exec.AsValue(strip(in.String(), chars, true, true))
}

// strip is Python's str.strip, lstrip and rstrip.
func strip(s string, chars *exec.Value, left, right bool) string {
	in := isSpace
	if !chars.IsNil() {
		cut := chars.String()
		in = func(r rune) bool { return strings.ContainsRune(cut, r) }
	}
	if left {
		s = strings.TrimLeftFunc(s, in)
	}
	if right {
		s = strings.TrimRightFunc(s, in)
	}
	return s
}

// isSpace is Python's str.isspace for one character: the white space of
// Unicode and the four information separators.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// The engine's methods that a template may call.
var (
	allowedStr = []string{
		"capitalize", "endswith", "isdigit", "islower", "isspace", "isupper", "lower", "removeprefix", "removesuffix",
		"startswith", "title", "upper",
	}
	allowedDict = []string{"get", "items", "keys", "values"}
)

func methodSets() exec.Methods {
	str := map[string]exec.Method[string]{
		"strip":  stripMethod(true, true),
		"lstrip": stripMethod(true, false),
		"rstrip": stripMethod(false, true),
		"split":  splitMethod,
	}
	pick(str, builtins.Methods.Str, allowedStr)
	dict := map[string]exec.Method[map[string]any]{}
	pick(dict, builtins.Methods.Dict, allowedDict)
	return exec.Methods{
		Bool:  exec.NewMethodSet(map[string]exec.Method[bool]{}),
		Int:   exec.NewMethodSet(map[string]exec.Method[int]{}),
		Float: exec.NewMethodSet(map[string]exec.Method[float64]{}),
		Str:   exec.NewMethodSet(str),
		Dict:  exec.NewMethodSet(dict),
		List:  exec.NewMethodSet(map[string]exec.Method[[]any]{}),
	}
}

func pick[T any](into map[string]exec.Method[T], from *exec.MethodSet[T], names []string) {
	for _, name := range names {
		m, ok := from.Get(name)
		if !ok {
			panic("chat: the template engine has no method " + name)
		}
		into[name] = m
	}
}

func stripMethod(left, right bool) exec.Method[string] {
	return func(self string, _ *exec.Value, args *exec.VarArgs) (any, error) {
		if len(args.Args) > 1 || len(args.KwArgs) > 0 {
			return nil, fmt.Errorf("strip takes at most one argument")
		}
		return strip(self, args.First(), left, right), nil
	}
}

func splitMethod(self string, _ *exec.Value, args *exec.VarArgs) (any, error) {
	sep := args.First()
	if len(args.Args) > 1 || len(args.KwArgs) > 0 || !sep.IsNil() && sep.String() == "" {
		return nil, fmt.Errorf("split takes a separator that is not empty, or nothing")
	}
	var parts []string
	if sep.IsNil() {
		parts = strings.FieldsFunc(self, isSpace)
	} else {
		parts = strings.Split(self, sep.String())
	}
	out := make(sequence, len(parts))
	for i, p := range parts {
		out[i] = p
	}
	return out, nil
}
