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
			"range":           function(rangeFunction),
			"namespace":       function(namespaceFunction),
			"raise_exception": function(raiseFunction),
		}),
		Filters:           filterSet(),
		Tests:             testSet(),
		ControlStructures: statementSet(),
	}
}

func statementSet() *exec.ControlStructureSet {
	set := map[string]parser.ControlStructureParser{}
	add := func(name string, inner parser.ControlStructureParser) {
		set[name] = func(p *parser.Parser, args *parser.Parser) (nodes.ControlStructure, error) {
			cs, err := inner(p, args)
			if err != nil {
				return nil, err
			}
			run, ok := cs.(exec.ControlStructure)
			if !ok {
				return nil, fmt.Errorf("the statement %s cannot be executed", name)
			}
			if loop, ok := cs.(*statements.ForControlStructure); ok && loop.Recursive {
				return nil, fmt.Errorf("recursive loops are not supported")
			}
			return &statement{run}, nil
		}
	}
	for _, name := range []string{"for", "if", "raw", "break", "continue"} {
		inner, ok := builtins.ControlStructures.Get(name)
		if !ok {
			panic("chat: the template engine has no statement " + name)
		}
		add(name, inner)
	}
	add("set", parseAssignment)
	return exec.NewControlStructureSet(set)
}

// statement charges each execution of a statement to the budget.
type statement struct {
	exec.ControlStructure
}

func (s *statement) Execute(r *exec.Renderer, block *nodes.ControlStructureBlock) error {
	if err := budgetOf(r.Environment).charge(1, 0); err != nil {
		return err
	}
	return s.ControlStructure.Execute(r, block)
}

// assignment is the statement set, of a variable or of an attribute of a
// namespace.
type assignment struct {
	location                      *tokens.Token
	variable, attribute           string // attribute may be empty
	value, condition, alternative nodes.Expression
}

func parseAssignment(_ *parser.Parser, args *parser.Parser) (nodes.ControlStructure, error) {
	a := &assignment{location: args.Current()}
	name := args.Match(tokens.Name)
	if name == nil {
		return nil, args.Error("set needs the name of a variable", args.Current())
	}
	a.variable = name.Val
	if args.Match(tokens.Dot) != nil {
		attribute := args.Match(tokens.Name)
		if attribute == nil {
			return nil, args.Error("set needs the name of an attribute", args.Current())
		}
		a.attribute = attribute.Val
	}
	if args.Match(tokens.Assign) == nil {
		return nil, args.Error("set needs = and a value (its block form is not supported)", args.Current())
	}
	var err error
	if a.value, err = args.ParseExpression(); err != nil {
		return nil, err
	}
	if a.condition, a.alternative, err = args.ParseCondition(); err != nil {
		return nil, err
	}
	if !args.End() {
		return nil, args.Error("set has something after the value", args.Current())
	}
	return a, nil
}

func (a *assignment) Position() *tokens.Token { return a.location }
func (a *assignment) String() string          { return "set" }

// Execute implements [exec.ControlStructure].
func (a *assignment) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	b := budgetOf(r.Environment)
	err := a.assign(evaluator{r.Evaluator(), b})
	if err != nil {
		b.failAt(a.location.Line, err)
		return b.err
	}
	return nil
}

func (a *assignment) assign(e evaluator) error {
	v, err := e.choose(a.value, a.condition, a.alternative)
	if err != nil {
		return err
	}
	vars := e.Environment.Context
	if a.attribute == "" {
		vars.Set(a.variable, v.Interface())
		return e.budget.chargeValue(v, 0)
	}
	target, _ := vars.Get(a.variable)
	ns, ok := exec.ToValue(target).Interface().(namespace)
	if !ok {
		return fmt.Errorf("set of an attribute of %s, which is not a namespace", clip(a.variable))
	}
	ns[a.attribute] = v.Interface()
	// The whole, which shows whether it now contains itself.
	return e.budget.chargeValue(ns, 0)
}

// function is what a template can call by name.
type function func(b *budget, params *exec.VarArgs) (any, error)

func rangeFunction(b *budget, params *exec.VarArgs) (any, error) {
	var arg [3]int
	if len(params.Args) < 1 || len(params.Args) > 3 || len(params.KwArgs) > 0 {
		return nil, fmt.Errorf("range takes one to three integers")
	}
	for i, p := range params.Args {
		if !p.IsInteger() {
			return nil, fmt.Errorf("range takes integers")
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
	out := sequence{}
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		if err := b.charge(1, 8); err != nil {
			return nil, err
		}
		out = append(out, i)
		if next := i + step; (next > i) != (step > 0) {
			break // past the largest integer
		}
	}
	return out, nil
}

// sequence is a list made by a template.
type sequence []any

// namespace holds variables that an inner block may assign.
type namespace map[string]any

func namespaceFunction(_ *budget, params *exec.VarArgs) (any, error) {
	if len(params.Args) > 0 {
		return nil, fmt.Errorf("namespace takes named arguments only")
	}
	ns := make(namespace, len(params.KwArgs))
	for k, v := range params.KwArgs {
		ns[k] = v.Interface()
	}
	return ns, nil
}

func raiseFunction(b *budget, params *exec.VarArgs) (any, error) {
	if err := b.chargeValue(params.First(), 0); err != nil {
		return nil, err
	}
	return nil, &RaisedError{Message: params.First().String()}
}
