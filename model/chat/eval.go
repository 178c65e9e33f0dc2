// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package chat

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
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
