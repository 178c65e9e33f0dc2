// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package chat

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/exec"
)

// filter is a filter on the budget: it charges what grows with its input.
type filter func(e evaluator, in *exec.Value, args *exec.VarArgs) (*exec.Value, error)

// The filters that a template may use. Those of the engine read a text once
// and make no more than a few bytes out of one.
var filters = map[string]filter{
	"capitalize": engineFilter("capitalize"),
	"count":      lengthFilter,
	"d":          defaultFilter,
	"default":    defaultFilter,
	"first":      endFilter(func(int) int { return 0 }),
	"float":      engineFilter("float"),
	"int":        engineFilter("int"),
	"items":      itemsFilter,
	"join":       joinFilter,
	"last":       endFilter(func(n int) int { return n - 1 }),
	"length":     lengthFilter,
	"list":       listFilter,
	"lower":      engineFilter("lower"),
	"map":        mapFilter,
	"reject":     selectFilter(false, false),
	"rejectattr": selectFilter(true, false),
	"replace":    replaceFilter,
	"reverse":    reverseFilter,
	"safe":       func(_ evaluator, in *exec.Value, _ *exec.VarArgs) (*exec.Value, error) { return in, nil },
	"select":     selectFilter(false, true),
	"selectattr": selectFilter(true, true),
	"string":     engineFilter("string"),
	"title":      engineFilter("title"),
	"trim":       trimFilter,
	"upper":      engineFilter("upper"),
}

func filterSet() *exec.FilterSet {
	set := make(map[string]exec.FilterFunction, len(filters))
	for name, f := range filters {
		set[name] = func(e *exec.Evaluator, in *exec.Value, args *exec.VarArgs) *exec.Value {
			ev := evaluator{e, budgetOf(e.Environment)}
			err := ev.budget.charge(1, 0)
			if err == nil {
				err = ev.chargeArguments(args)
			}
			if err == nil {
				err = ev.chargeText(in)
			}
			var out *exec.Value
			if err == nil {
				out, err = f(ev, in, args)
			}
			if err == nil {
				err = ev.chargeText(out)
			}
			if err != nil {
				return exec.AsValue(err)
			}
			return out
		}
	}
	return exec.NewFilterSet(set)
}

// chargeArguments charges what a function may read or print of its arguments.
func (e evaluator) chargeArguments(args *exec.VarArgs) error {
	for _, a := range args.Args {
		if err := e.budget.chargeValue(a, 0); err != nil {
			return err
		}
	}
	for _, a := range args.KwArgs {
		if err := e.budget.chargeValue(a, 0); err != nil {
			return err
		}
	}
	return nil
}

func engineFilter(name string) filter {
	f, ok := builtins.Filters.Get(name)
	if !ok {
		panic("chat: the template engine has no filter " + name)
	}
	return func(e evaluator, in *exec.Value, args *exec.VarArgs) (*exec.Value, error) {
		// The engine prints what is not a text.
		if err := e.budget.chargeValue(in, 0); err != nil {
			return nil, err
		}
		out := f(e.Evaluator, in, args)
		if out.IsError() {
			return nil, out.Interface().(error)
		}
		return out, nil
	}
}

// options gives the arguments in the order of names, by place or by name;
// undefined ones are nil.
func options(args *exec.VarArgs, names ...string) ([]*exec.Value, error) {
	if len(args.Args) > len(names) {
		return nil, fmt.Errorf("a filter has %d arguments, %d are possible", len(args.Args), len(names))
	}
	out := make([]*exec.Value, len(names))
	copy(out, args.Args)
	for name, v := range args.KwArgs {
		i := slices.Index(names, name)
		if i < 0 || out[i] != nil {
			return nil, fmt.Errorf("a filter has the argument %s, which is unknown or given twice", clip(name))
		}
		out[i] = v
	}
	return out, nil
}

// items are the elements of a list, the characters of a text, the keys of a dict.
func (e evaluator) items(in *exec.Value) (sequence, error) {
	v, err := elements(e, in)
	if err != nil {
		return nil, err
	}
	out := sequence{}
	if v.IsDict() {
		for _, key := range v.Keys() {
			out = append(out, key.Interface())
		}
		return out, nil
	}
	if v.IsList() {
		for i := range v.Len() {
			out = append(out, v.Index(i).Interface())
		}
	}
	return out, nil
}

func listFilter(e evaluator, in *exec.Value, _ *exec.VarArgs) (*exec.Value, error) {
	list, err := e.items(in)
	return exec.AsValue(list), err
}

func reverseFilter(e evaluator, in *exec.Value, _ *exec.VarArgs) (*exec.Value, error) {
	if in.IsString() {
		r := []rune(in.String())
		slices.Reverse(r)
		return exec.AsValue(string(r)), nil
	}
	list, err := e.items(in)
	slices.Reverse(list)
	return exec.AsValue(list), err
}

func lengthFilter(e evaluator, in *exec.Value, _ *exec.VarArgs) (*exec.Value, error) {
	if in.IsDict() {
		if err := e.budget.charge(length(in), 0); err != nil {
			return nil, err
		}
	}
	return exec.AsValue(in.Len()), nil
}

func defaultFilter(_ evaluator, in *exec.Value, args *exec.VarArgs) (*exec.Value, error) {
	opt, err := options(args, "default_value", "boolean")
	if err != nil {
		return nil, err
	}
	if in.IsNil() || opt[1] != nil && truth(opt[1]) && !truth(in) {
		if opt[0] == nil {
			return exec.AsValue(""), nil
		}
		return opt[0], nil
	}
	return in, nil
}

// endFilter is first or last.
func endFilter(at func(n int) int) filter {
	return func(e evaluator, in *exec.Value, _ *exec.VarArgs) (*exec.Value, error) {
		if in.IsList() && in.Len() > 0 {
			return in.Index(at(in.Len())), nil
		}
		list, err := e.items(in)
		if err != nil || len(list) == 0 {
			return exec.AsValue(nil), err
		}
		return exec.ToValue(list[at(len(list))]), nil
	}
}

func itemsFilter(e evaluator, in *exec.Value, args *exec.VarArgs) (*exec.Value, error) {
	if in.IsNil() {
		return exec.AsValue(sequence{}), nil
	}
	if !in.IsDict() {
		return nil, fmt.Errorf("items takes a dict")
	}
	return e.method(in, "items", args)
}

func joinFilter(e evaluator, in *exec.Value, args *exec.VarArgs) (*exec.Value, error) {
	opt, err := options(args, "d", "attribute")
	if err != nil {
		return nil, err
	}
	list, err := e.items(in)
	if err != nil {
		return nil, err
	}
	separator := ""
	if opt[0] != nil {
		if !opt[0].IsString() {
			return nil, fmt.Errorf("join takes a text to put between the elements")
		}
		separator = opt[0].String()
	}
	var out strings.Builder
	for i, item := range list {
		v := exec.ToValue(item)
		if opt[1] != nil {
			if v, err = e.path(v, opt[1]); err != nil {
				return nil, err
			}
		}
		if err := e.budget.charge(0, len(separator)); err != nil {
			return nil, err
		}
		if err := e.budget.chargeValue(v, 0); err != nil {
			return nil, err
		}
		if i > 0 {
			out.WriteString(separator)
		}
		out.WriteString(v.String())
	}
	return exec.AsValue(out.String()), nil
}

// path is the attribute of a value that a filter names: a number or names with
// dots between them.
func (e evaluator) path(v, attribute *exec.Value) (*exec.Value, error) {
	if attribute.IsInteger() {
		return e.index(v, attribute.Integer())
	}
	if !attribute.IsString() {
		return nil, fmt.Errorf("the name of an attribute has to be a text or an integer")
	}
	for name := range strings.SplitSeq(attribute.String(), ".") {
		if err := e.budget.charge(1, len(name)); err != nil {
			return nil, err
		}
		if v.IsNil() {
			return v, nil
		}
		var err error
		if v, err = e.attribute(v, name); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func mapFilter(e evaluator, in *exec.Value, args *exec.VarArgs) (*exec.Value, error) {
	list, err := e.items(in)
	if err != nil {
		return nil, err
	}
	if len(args.Args) > 0 {
		name, rest := args.Args[0], &exec.VarArgs{Args: args.Args[1:], KwArgs: args.KwArgs}
		if !name.IsString() || strings.HasPrefix(name.String(), " ") {
			return nil, fmt.Errorf("map takes the name of a filter")
		}
		for i, item := range list {
			v := e.ExecuteFilterByName(name.String(), exec.ToValue(item), rest)
			if v.IsError() {
				return nil, v.Interface().(error)
			}
			list[i] = v.Interface()
		}
		return exec.AsValue(list), nil
	}
	opt, err := options(args, "attribute", "default")
	if err != nil {
		return nil, err
	}
	if opt[0] == nil {
		return nil, fmt.Errorf("map takes the name of a filter or an attribute")
	}
	for i, item := range list {
		v, err := e.path(exec.ToValue(item), opt[0])
		if err != nil {
			return nil, err
		}
		if v.IsNil() && opt[1] != nil {
			v = opt[1]
		}
		list[i] = v.Interface()
	}
	return exec.AsValue(list), nil
}

// selectFilter is select, reject, selectattr and rejectattr.
func selectFilter(attribute, keep bool) filter {
	return func(e evaluator, in *exec.Value, args *exec.VarArgs) (*exec.Value, error) {
		list, err := e.items(in)
		if err != nil {
			return nil, err
		}
		rest := args.Args
		var name *exec.Value
		if attribute {
			if len(rest) == 0 {
				return nil, fmt.Errorf("selectattr and rejectattr take the name of an attribute")
			}
			name, rest = rest[0], rest[1:]
		}
		out := sequence{}
		for _, item := range list {
			v := exec.ToValue(item)
			if attribute {
				if v, err = e.path(v, name); err != nil {
					return nil, err
				}
			}
			if len(rest) > 0 {
				v = e.ExecuteTestByName(rest[0].String(), v, &exec.VarArgs{Args: rest[1:], KwArgs: args.KwArgs})
				if v.IsError() {
					return nil, v.Interface().(error)
				}
			}
			if truth(v) == keep {
				out = append(out, item)
			}
		}
		return exec.AsValue(out), nil
	}
}

func replaceFilter(e evaluator, in *exec.Value, args *exec.VarArgs) (*exec.Value, error) {
	opt, err := options(args, "old", "new")
	if err != nil {
		return nil, err
	}
	if !in.IsString() || opt[0] == nil || opt[1] == nil {
		return nil, fmt.Errorf("replace works on a text and takes two")
	}
	out, err := replaceMethod(e, in.String(), opt)
	return exec.AsValue(out), err
}

func trimFilter(e evaluator, in *exec.Value, args *exec.VarArgs) (*exec.Value, error) {
	opt, err := options(args, "chars")
	if err != nil {
		return nil, err
	}
	if err := e.budget.chargeValue(in, 0); err != nil {
		return nil, err
	}
	if opt[0] == nil || opt[0].IsNil() {
		return exec.AsValue(strip(in.String(), isSpace, true, true)), nil
	}
	out, err := stripMethod(true, true)(e, in.String(), opt)
	return exec.AsValue(out), err
}
