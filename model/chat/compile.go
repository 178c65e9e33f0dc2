// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package chat

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	statements "github.com/nikolalohinski/gonja/v2/builtins/control_structures"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// compiler puts this package's evaluator in the place of the engine's: each
// expression of a parsed template becomes a filter of its own that evaluates
// it. Texts between tags are trimmed once, comments go.
type compiler struct {
	filters *exec.FilterSet
	count   int
}

func (c *compiler) template(root *nodes.Template) (err error) {
	root.Nodes, err = c.block(root.Nodes)
	return err
}

func (c *compiler) block(list []nodes.Node) ([]nodes.Node, error) {
	var out []nodes.Node
	for _, node := range list {
		var err error
		switch n := node.(type) {
		case *nodes.Comment:
			continue
		case *nodes.Data:
			text := trimmed(n)
			if text == "" {
				continue
			}
			token := *n.Data
			token.Val = text
			node = &nodes.Data{Data: &token}
		case *nodes.Output:
			node, err = c.output(n)
		case *nodes.ControlStructureBlock:
			s, ok := n.ControlStructure.(*statement)
			if !ok {
				return nil, fmt.Errorf("the statement %s is not supported", n.Name)
			}
			err = c.statement(s)
		default:
			return nil, fmt.Errorf("a node of type %T is not supported", node)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, node)
	}
	return out, nil
}

// trimmed is the text that the engine would write for a node, whose rules these
// are (trim_blocks, lstrip_blocks, and the minus signs in tags).
func trimmed(n *nodes.Data) string {
	text := n.Data.Val
	if n.RemoveFirstLineReturn {
		text = strings.TrimPrefix(text, "\r\n")
		text = strings.TrimPrefix(text, "\n")
	}
	if n.Trim.Left {
		text = strings.TrimLeft(text, " \r\n\t")
	}
	if n.Trim.Right {
		text = strings.TrimRight(text, " \r\n\t")
	}
	if n.RemoveTrailingWhiteSpaceFromLastLine {
		line := strings.LastIndexByte(text, '\n') + 1
		text = text[:line] + strings.TrimRight(text[line:], " \r\t")
	}
	return text
}

func (c *compiler) wrapper(w *nodes.Wrapper) (err error) {
	if w != nil {
		w.Nodes, err = c.block(w.Nodes)
	}
	return err
}

func (c *compiler) statement(s *statement) error {
	switch n := s.ControlStructure.(type) {
	case *statements.ForControlStructure:
		over := rounds
		if n.Value != "" {
			over = pairs
		}
		var err error
		if n.ObjectEvaluator, err = c.bind(n.ObjectEvaluator, over); err != nil {
			return err
		}
		if n.IfCondition != nil {
			if n.IfCondition, err = c.bind(n.IfCondition, condition); err != nil {
				return err
			}
		}
		if err := c.wrapper(n.BodyWrapper); err != nil {
			return err
		}
		return c.wrapper(n.EmptyWrapper)
	case *statements.IfControlStructure:
		for i, cond := range n.Conditions {
			bound, err := c.bind(cond, condition)
			if err != nil {
				return err
			}
			n.Conditions[i] = bound
		}
		for _, w := range n.Wrappers {
			if err := c.wrapper(w); err != nil {
				return err
			}
		}
	case *assignment:
		return checkDepth(0, n.value, n.condition, n.alternative)
	}
	return nil
}

func (c *compiler) output(n *nodes.Output) (nodes.Node, error) {
	if err := checkDepth(0, n.Expression, n.Condition, n.Alternative); err != nil {
		return nil, err
	}
	bound := c.filter(n.Start, func(e evaluator) (*exec.Value, error) {
		v, err := e.choose(n.Expression, n.Condition, n.Alternative)
		if err != nil {
			return nil, err
		}
		return printed(e, v)
	})
	return &nodes.Output{Start: n.Start, Expression: bound, End: n.End}, nil
}

// choose evaluates "value if condition else alternative"; the last two may be nil.
func (e evaluator) choose(value, condition, alternative nodes.Expression) (*exec.Value, error) {
	if condition != nil {
		v, err := e.eval(condition)
		if err != nil {
			return nil, err
		}
		if !truth(v) {
			if alternative == nil {
				return exec.AsValue(nil), nil
			}
			value = alternative
		}
	}
	return e.eval(value)
}

// bind makes an expression whose value is turned into what its place needs.
func (c *compiler) bind(n nodes.Expression, as func(evaluator, *exec.Value) (*exec.Value, error)) (nodes.Expression, error) {
	if err := checkDepth(0, n); err != nil {
		return nil, err
	}
	return c.filter(n.Position(), func(e evaluator) (*exec.Value, error) {
		v, err := e.eval(n)
		if err != nil {
			return nil, err
		}
		return as(e, v)
	}), nil
}

func (c *compiler) filter(at *tokens.Token, f func(evaluator) (*exec.Value, error)) nodes.Expression {
	// The space keeps templates from naming it.
	name := " " + strconv.Itoa(c.count)
	c.count++
	err := c.filters.Register(name, func(e *exec.Evaluator, _ *exec.Value, _ *exec.VarArgs) *exec.Value {
		b := budgetOf(e.Environment)
		v, err := f(evaluator{e, b})
		if err == nil {
			return v
		}
		// The rendering ends at the next charge. The engine must not see the
		// error: it would print the expression into it at each level above.
		b.failAt(at.Line, err)
		return exec.AsValue(nil)
	})
	if err != nil {
		panic(err) // the names are distinct
	}
	return &nodes.FilteredExpression{
		Expression: &nodes.None{Location: at},
		Filters:    []*nodes.FilterCall{{Token: at, Name: name}},
	}
}

// printed is the text of a value.
func printed(e evaluator, v *exec.Value) (*exec.Value, error) {
	if err := e.budget.chargeValue(v, 0); err != nil {
		return nil, err
	}
	return exec.AsValue(v.String()), nil
}

// rounds is what a loop goes over.
func rounds(e evaluator, v *exec.Value) (*exec.Value, error) {
	if v.IsIterable() {
		if err := e.budget.charge(min(length(v), math.MaxInt/stepsPerRound)*(stepsPerRound-1), 0); err != nil {
			return nil, err
		}
	}
	return elements(e, v)
}

// elements is a value with elements to go over; of a text these are its
// characters.
func elements(e evaluator, v *exec.Value) (*exec.Value, error) {
	if err := e.budget.charge(length(v), 0); err != nil {
		return nil, err
	}
	switch {
	case v.IsString():
		out := sequence{}
		for _, r := range v.String() {
			out = append(out, string(r))
		}
		return exec.AsValue(out), nil
	case v.IsNil(), v.IsList(), v.IsDict():
		return v, nil
	}
	return nil, fmt.Errorf("only lists, dicts and texts have elements")
}

// pairs is what a loop with two variables goes over.
func pairs(e evaluator, v *exec.Value) (*exec.Value, error) {
	v, err := rounds(e, v)
	if err != nil || v.IsNil() {
		return v, err
	}
	if v.IsDict() {
		return nil, fmt.Errorf("a loop over a dict has one variable; items() gives pairs")
	}
	for i := range v.Len() {
		if p := v.Index(i); !p.IsList() || p.Len() != 2 {
			return nil, fmt.Errorf("a loop with two variables needs pairs, which element %d is not", i)
		}
	}
	return v, nil
}

func condition(_ evaluator, v *exec.Value) (*exec.Value, error) {
	return exec.AsValue(truth(v)), nil
}

// checkDepth refuses expressions that are nested too deeply to be evaluated by
// recursion: every operator, call, index and argument is a level.
func checkDepth(depth int, list ...nodes.Expression) error {
	for _, node := range list {
		if node == nil {
			continue
		}
		if depth == maxOperations {
			return &LimitError{What: "nested operations", Limit: maxOperations, Line: node.Position().Line}
		}
		var inner []nodes.Expression
		switch n := node.(type) {
		case *nodes.List:
			inner = n.Val
		case *nodes.Tuple:
			inner = n.Val
		case *nodes.Dict:
			for _, p := range n.Pairs {
				inner = append(inner, p.Key, p.Value)
			}
		case *nodes.Call:
			inner = append(append(inner, n.Func), n.Args...)
			for _, a := range n.Kwargs {
				inner = append(inner, a)
			}
		case *nodes.GetItem:
			inner = []nodes.Expression{n.Node, n.Arg}
		case *nodes.GetAttribute:
			inner = []nodes.Expression{n.Node}
		case *nodes.GetSlice:
			inner = []nodes.Expression{n.Node, n.Start, n.End, n.Step}
		case *nodes.Negation:
			inner = []nodes.Expression{n.Term}
		case *nodes.UnaryExpression:
			inner = []nodes.Expression{n.Term}
		case *nodes.BinaryExpression:
			inner = []nodes.Expression{n.Left, n.Right}
		case *nodes.FilteredExpression:
			inner = append(inner, n.Expression)
			for _, f := range n.Filters {
				inner = append(inner, f.Args...)
				for _, a := range f.Kwargs {
					inner = append(inner, a)
				}
			}
		case *nodes.TestExpression:
			inner = append(append(inner, n.Expression), n.Test.Args...)
			for _, a := range n.Test.Kwargs {
				inner = append(inner, a)
			}
		}
		if err := checkDepth(depth+1, inner...); err != nil {
			return err
		}
	}
	return nil
}
