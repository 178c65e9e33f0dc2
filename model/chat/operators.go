// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package chat

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

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
