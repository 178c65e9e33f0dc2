// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package chat

import (
	"fmt"

	"github.com/nikolalohinski/gonja/v2/builtins"
	statements "github.com/nikolalohinski/gonja/v2/builtins/control_structures"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// environment is what a template can reach.
func environment() *exec.Environment {
	return &exec.Environment{
		Context: exec.NewContext(map[string]any{
			"range":           rangeFunction,
			"namespace":       namespaceFunction,
			"raise_exception": raiseFunction,
		}),
		Filters:           filterSet(),
		Tests:             builtins.Tests,
		ControlStructures: statementSet(),
		Methods:           methodSets(),
	}
}

func statementSet() *exec.ControlStructureSet {
	set := map[string]parser.ControlStructureParser{}
	for _, name := range []string{"for", "if", "set", "raw", "break", "continue"} {
		inner, ok := builtins.ControlStructures.Get(name)
		if !ok {
			panic("chat: the template engine has no statement " + name)
		}
		set[name] = func(p *parser.Parser, args *parser.Parser) (nodes.ControlStructure, error) {
			var target string
			if name == "set" {
				first := args.Current()
				if first == nil || first.Type != tokens.Name {
					return nil, args.Error("set needs the name of a variable", first)
				}
				target = first.Val
			}
			cs, err := inner(p, args)
			if err != nil {
				return nil, err
			}
			run, ok := cs.(exec.ControlStructure)
			if !ok {
				return nil, fmt.Errorf("the statement %s cannot be executed", name)
			}
			if loop, ok := cs.(*statements.ForControlStructure); ok {
				if loop.Recursive {
					return nil, fmt.Errorf("recursive loops are not supported")
				}
				loop.ObjectEvaluator = metered(loop.ObjectEvaluator, meterLen)
				if loop.IfCondition != nil {
					loop.IfCondition = metered(loop.IfCondition, meterOne)
				}
			}
			return &statement{ControlStructure: run, target: target}, nil
		}
	}
	return exec.NewControlStructureSet(set)
}

// statement charges each execution of a statement to the budget.
type statement struct {
	exec.ControlStructure
	target string // of set: the variable whose value may have grown
}

func (s *statement) Execute(r *exec.Renderer, block *nodes.ControlStructureBlock) error {
	b := budgetOf(r.Environment)
	if err := b.charge(1, 0); err != nil {
		return err
	}
	if err := s.ControlStructure.Execute(r, block); err != nil {
		return err
	}
	if s.target == "" {
		return nil
	}
	v, _ := r.Environment.Context.Get(s.target)
	return b.chargeValue(v, 0)
}

// Filters without a name a template could write, by which the evaluation of
// an expression is charged.
const (
	meterLen = " len"
	meterOne = " one"
)

func metered(e nodes.Expression, meter string) nodes.Expression {
	return &nodes.FilteredExpression{
		Expression: e,
		Filters:    []*nodes.FilterCall{{Token: e.Position(), Name: meter}},
	}
}

func rangeFunction(e *exec.Evaluator, params *exec.VarArgs) (sequence, error) {
	var arg [3]int
	if len(params.Args) < 1 || len(params.Args) > 3 || len(params.KwArgs) > 0 {
		return nil, fmt.Errorf("range takes one to three integers")
	}
	for i, p := range params.Args {
		if !p.IsInteger() {
			return nil, fmt.Errorf("range takes integers, not %q", p.String())
		}
		arg[i] = p.Integer()
	}
	start, stop, step := arg[0], arg[1], arg[2]
	switch len(params.Args) {
	case 1:
		start, stop, step = 0, arg[0], 1
	case 2:
		step = 1
	}
	if step == 0 {
		return nil, fmt.Errorf("range with a step of zero")
	}
	b := budgetOf(e.Environment)
	out := sequence{}
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		if err := b.charge(1, 8); err != nil {
			return nil, err
		}
		out = append(out, i)
	}
	return out, nil
}

// sequence is a list that is indexed from its end as in Python; of the engine's
// own lists, the first element cannot be reached with a negative index.
type sequence []any

// GetItem implements [exec.ItemGetter].
func (s sequence) GetItem(key any) (*exec.Value, bool) {
	i, ok := key.(int)
	if !ok {
		return exec.AsValue(nil), false
	}
	if i < 0 {
		i += len(s)
	}
	if i < 0 || i >= len(s) {
		return exec.AsValue(nil), false
	}
	return exec.ToValue(s[i]), true
}

func namespaceFunction(_ *exec.Evaluator, params *exec.VarArgs) (map[string]any, error) {
	if len(params.Args) > 0 {
		return nil, fmt.Errorf("namespace takes named arguments only")
	}
	ns := make(map[string]any, len(params.KwArgs))
	for k, v := range params.KwArgs {
		ns[k] = v
	}
	return ns, nil
}

func raiseFunction(e *exec.Evaluator, params *exec.VarArgs) (string, error) {
	err := &RaisedError{Message: params.First().String()}
	if b := budgetOf(e.Environment); b.err == nil {
		b.err = err
	}
	return "", err
}
