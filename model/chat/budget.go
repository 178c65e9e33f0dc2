// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package chat

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/nikolalohinski/gonja/v2/exec"
)

// What one rendering may cost. Steps and bytes make the outcome depend on the
// input alone; the deadline is the last resort for steps that are each slow.
const (
	baseSteps       = 50_000
	stepsPerMessage = 2_000
	baseBytes       = 1 << 20
	bytesPerByte    = 64 // bytes of work per byte of message
	maxDuration     = 5 * time.Second
	maxDepth        = 32 // of a value: lists in dicts in lists
	stepsPerRound   = 4  // of a loop, which costs more than evaluating a node
)

// LimitError reports a template that is larger than a template may be, or that
// used more than a rendering may cost.
type LimitError struct {
	// What is limited: of the template's text "bytes of text", "nested brackets",
	// "nested blocks", "tokens in a tag" or "nested operations"; of a rendering
	// "steps", "bytes", "time" or "depth".
	What  string
	Limit int64 // in the unit of What; time in nanoseconds
	Line  int   // of the template; 0 if it concerns the whole
}

func (e *LimitError) Error() string {
	if e.What == "time" {
		return fmt.Sprintf("chat: the template took more than %v", time.Duration(e.Limit))
	}
	if e.Line > 0 {
		return fmt.Sprintf("chat: line %d of the template exceeded the limit of %d %s", e.Line, e.Limit, e.What)
	}
	return fmt.Sprintf("chat: the template exceeded its limit of %d %s", e.Limit, e.What)
}

// budget is the account of one rendering. A rendering runs on one goroutine.
type budget struct {
	steps, bytes       int
	stepLimit, byLimit int
	deadline           time.Time
	err                error // the first refusal; the engine's own errors lose the type
}

func newBudget(messages, contentBytes int) *budget {
	b := &budget{
		stepLimit: baseSteps + stepsPerMessage*messages,
		byLimit:   baseBytes + bytesPerByte*contentBytes,
		deadline:  time.Now().Add(maxDuration),
	}
	b.steps, b.bytes = b.stepLimit, b.byLimit
	return b
}

// charge takes steps and bytes from the account.
func (b *budget) charge(steps, bytes int) error {
	if b.err != nil {
		return b.err
	}
	switch {
	case steps > b.steps:
		b.err = &LimitError{What: "steps", Limit: int64(b.stepLimit)}
	case bytes > b.bytes:
		b.err = &LimitError{What: "bytes", Limit: int64(b.byLimit)}
	case time.Now().After(b.deadline):
		b.err = &LimitError{What: "time", Limit: int64(maxDuration)}
	}
	b.steps -= steps
	b.bytes -= bytes
	return b.err
}

// fail ends the rendering with an error, unless it has ended with another.
func (b *budget) fail(err error) error {
	if b.err == nil {
		b.err = err
	}
	return b.err
}

// failAt is fail for an error at a line of the template.
func (b *budget) failAt(line int, err error) {
	var (
		limit  *LimitError
		raised *RaisedError
	)
	if b.err == nil && !errors.As(err, &limit) && !errors.As(err, &raised) {
		err = fmt.Errorf("chat: line %d of the template: %s", line, clip(err.Error()))
	}
	b.fail(err)
}

// scalarBytes is about what a value other than a text takes when printed.
const scalarBytes = 8

// chargeValue charges the size of a value, and refuses a value that contains
// itself, which the engine could not print. Each value inside is charged for,
// even an empty one, so that the walk itself is bounded.
func (b *budget) chargeValue(v any, depth int) error {
	if depth > maxDepth {
		return b.fail(&LimitError{What: "depth", Limit: maxDepth})
	}
	if err := b.charge(0, scalarBytes); err != nil {
		return err
	}
	switch v := v.(type) {
	case *exec.Value:
		if v == nil {
			return nil
		}
		return b.chargeValue(v.Interface(), depth+1)
	case *exec.Pair:
		if err := b.chargeValue(v.Key, depth+1); err != nil {
			return err
		}
		return b.chargeValue(v.Value, depth+1)
	case *exec.Dict:
		for _, p := range v.Pairs {
			if err := b.chargeValue(p, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	rv := reflect.ValueOf(v)
	switch rv.Kind() {
	case reflect.String:
		return b.charge(0, rv.Len())
	case reflect.Slice, reflect.Array:
		for i := range rv.Len() {
			if err := b.chargeValue(rv.Index(i).Interface(), depth+1); err != nil {
				return err
			}
		}
	case reflect.Map:
		for it := rv.MapRange(); it.Next(); {
			if err := b.chargeValue(it.Key().Interface(), depth+1); err != nil {
				return err
			}
			if err := b.chargeValue(it.Value().Interface(), depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// budgetOf finds the account of the running rendering.
func budgetOf(e *exec.Environment) *budget {
	v, _ := e.Context.Get(budgetName)
	return v.(*budget)
}

// budgetName is the context's entry with the budget; the space keeps templates
// from naming it.
const budgetName = " budget"
