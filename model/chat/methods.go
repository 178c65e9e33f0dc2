// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package chat

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nikolalohinski/gonja/v2/builtins"
	statements "github.com/nikolalohinski/gonja/v2/builtins/control_structures"
	"github.com/nikolalohinski/gonja/v2/exec"
)

// method calls a method, those of Python that templates use.
func (e evaluator) method(self *exec.Value, name string, args *exec.VarArgs) (*exec.Value, error) {
	switch v := self.Interface().(type) {
	case *exec.Dict:
		if err := e.budget.charge(len(v.Pairs), 0); err != nil {
			return nil, err
		}
		return dictMethod(v.Pairs, name, args)
	case map[string]any:
		if err := e.budget.charge(len(v), 0); err != nil {
			return nil, err
		}
		pairs := make([]*exec.Pair, 0, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			pairs = append(pairs, &exec.Pair{Key: exec.AsValue(key), Value: exec.ToValue(v[key])})
		}
		return dictMethod(pairs, name, args)
	case *statements.LoopInfos:
		if name == "cycle" || name == "changed" {
			for _, a := range args.Args {
				if err := e.budget.chargeValue(a, 0); err != nil {
					return nil, err
				}
			}
			f, _ := v.GetAttribute(name)
			return f.Interface().(func(*exec.VarArgs) *exec.Value)(args), nil
		}
	}
	if self.IsString() {
		return e.textMethod(self, name, args)
	}
	if self.IsNil() {
		return nil, fmt.Errorf("method %s of something undefined", clip(name))
	}
	return nil, fmt.Errorf("unknown method %s", clip(name))
}

func dictMethod(pairs []*exec.Pair, name string, args *exec.VarArgs) (*exec.Value, error) {
	if len(args.KwArgs) > 0 {
		return nil, fmt.Errorf("%s takes no named arguments", clip(name))
	}
	if name == "get" {
		if n := len(args.Args); n < 1 || n > 2 {
			return nil, fmt.Errorf("get takes a key and perhaps a default")
		}
		for _, p := range pairs {
			if key := args.Args[0]; p.Key.IsString() == key.IsString() && p.Key.EqualValueTo(key) {
				return p.Value, nil
			}
		}
		if len(args.Args) == 2 {
			return args.Args[1], nil
		}
		return exec.AsValue(nil), nil
	}
	out := make(sequence, len(pairs))
	for i, p := range pairs {
		switch name {
		case "items":
			out[i] = sequence{p.Key.Interface(), p.Value.Interface()}
		case "keys":
			out[i] = p.Key.Interface()
		case "values":
			out[i] = p.Value.Interface()
		}
	}
	if name != "items" && name != "keys" && name != "values" {
		return nil, fmt.Errorf("unknown method %s of a dict", clip(name))
	}
	if len(args.Args) > 0 {
		return nil, fmt.Errorf("%s takes no arguments", name)
	}
	return exec.AsValue(out), nil
}

// The engine's methods of texts that a template may call; each reads its text
// once and makes no more than a few bytes out of one.
var engineMethods = []string{"isdigit", "islower", "isspace", "isupper", "title"}

// A textMethod works on texts and arguments that are charged for already.
type textMethod func(e evaluator, self string, args []*exec.Value) (any, error)

var textMethods = map[string]textMethod{
	"capitalize":   plainMethod(capitalize),
	"lower":        plainMethod(strings.ToLower),
	"upper":        plainMethod(strings.ToUpper),
	"strip":        stripMethod(true, true),
	"lstrip":       stripMethod(true, false),
	"rstrip":       stripMethod(false, true),
	"startswith":   affixMethod(strings.HasPrefix),
	"endswith":     affixMethod(strings.HasSuffix),
	"removeprefix": cutMethod(strings.TrimPrefix),
	"removesuffix": cutMethod(strings.TrimSuffix),
	"replace":      replaceMethod,
	"split":        splitMethod,
}

func (e evaluator) textMethod(self *exec.Value, name string, args *exec.VarArgs) (*exec.Value, error) {
	if err := e.chargeText(self); err != nil {
		return nil, err
	}
	for _, a := range args.Args {
		if err := e.budget.chargeValue(a, 0); err != nil {
			return nil, err
		}
	}
	var (
		out any
		err error
	)
	if m, ok := textMethods[name]; ok {
		if len(args.KwArgs) > 0 {
			return nil, fmt.Errorf("%s takes no named arguments", name)
		}
		out, err = m(e, self.String(), args.Args)
	} else if m, ok := builtins.Methods.Str.Get(name); ok && slices.Contains(engineMethods, name) {
		out, err = m(self.String(), self, args)
	} else {
		err = fmt.Errorf("unknown method %s of a text", clip(name))
	}
	if err != nil {
		return nil, err
	}
	v := exec.AsValue(out)
	return v, e.chargeText(v)
}

// textArguments are the arguments, which have to be texts, and so many.
func textArguments(args []*exec.Value, n int) ([]string, error) {
	if len(args) != n {
		return nil, fmt.Errorf("%d arguments, not %d, expected", n, len(args))
	}
	out := make([]string, n)
	for i, a := range args {
		if !a.IsString() {
			return nil, fmt.Errorf("argument %d has to be a text", i+1)
		}
		out[i] = a.String()
	}
	return out, nil
}

func plainMethod(f func(string) string) textMethod {
	return func(_ evaluator, self string, args []*exec.Value) (any, error) {
		_, err := textArguments(args, 0)
		return f(self), err
	}
}

func capitalize(s string) string {
	_, n := utf8.DecodeRuneInString(s)
	return strings.ToTitle(s[:n]) + strings.ToLower(s[n:])
}

func stripMethod(left, right bool) textMethod {
	return func(e evaluator, self string, args []*exec.Value) (any, error) {
		if len(args) > 1 {
			return nil, fmt.Errorf("strip takes at most one argument")
		}
		if len(args) == 0 || args[0].IsNil() {
			return strip(self, isSpace, left, right), nil
		}
		chars, err := textArguments(args, 1)
		if err != nil {
			return nil, err
		}
		return strip(self, oneOf(chars[0]), left, right), nil
	}
}

func oneOf(chars string) func(rune) bool {
	set := make(map[rune]bool)
	for _, r := range chars {
		set[r] = true
	}
	return func(r rune) bool { return set[r] }
}

// strip is Python's str.strip, lstrip and rstrip.
func strip(s string, in func(rune) bool, left, right bool) string {
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

// affixMethod is startswith or endswith, of one text or any of a tuple.
func affixMethod(has func(s, affix string) bool) textMethod {
	return func(_ evaluator, self string, args []*exec.Value) (any, error) {
		if len(args) == 1 && args[0].IsList() {
			found := false
			for i := range args[0].Len() {
				affix := args[0].Index(i)
				if !affix.IsString() {
					return nil, fmt.Errorf("element %d has to be a text", i)
				}
				found = found || has(self, affix.String())
			}
			return found, nil
		}
		affix, err := textArguments(args, 1)
		if err != nil {
			return nil, err
		}
		return has(self, affix[0]), nil
	}
}

func cutMethod(cut func(s, affix string) string) textMethod {
	return func(_ evaluator, self string, args []*exec.Value) (any, error) {
		affix, err := textArguments(args, 1)
		if err != nil {
			return nil, err
		}
		return cut(self, affix[0]), nil
	}
}

func replaceMethod(e evaluator, self string, args []*exec.Value) (any, error) {
	arg, err := textArguments(args, 2)
	if err != nil {
		return nil, err
	}
	if err := e.budget.charge(0, strings.Count(self, arg[0])*len(arg[1])); err != nil {
		return nil, err
	}
	return strings.ReplaceAll(self, arg[0], arg[1]), nil
}

// partBytes is about what an element of a list takes.
const partBytes = 32

// splitMethod is str.split(separator, maxsplit).
func splitMethod(e evaluator, self string, args []*exec.Value) (any, error) {
	limit := -1
	if len(args) == 2 {
		if !args[1].IsInteger() {
			return nil, fmt.Errorf("split takes an integer as its second argument")
		}
		if n := args[1].Integer(); n >= 0 {
			limit = n
		}
		args = args[:1]
	}
	if len(args) == 0 || args[0].IsNil() {
		if limit >= 0 {
			return nil, fmt.Errorf("split with a limit needs a separator")
		}
		out := sequence{}
		for p := range strings.FieldsFuncSeq(self, isSpace) {
			if err := e.budget.charge(0, partBytes); err != nil {
				return nil, err
			}
			out = append(out, p)
		}
		return out, nil
	}
	sep, err := textArguments(args, 1)
	if err != nil {
		return nil, err
	}
	if sep[0] == "" {
		return nil, fmt.Errorf("split takes a separator that is not empty, or nothing")
	}
	out := sequence{}
	for rest, found := self, true; found; {
		if err := e.budget.charge(0, partBytes); err != nil {
			return nil, err
		}
		part, after, ok := strings.Cut(rest, sep[0])
		if limit >= 0 && len(out) == limit {
			part, ok = rest, false
		}
		out = append(out, part)
		rest, found = after, ok
	}
	return out, nil
}
