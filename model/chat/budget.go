// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package chat

import (
	"fmt"
	"reflect"
	"time"

	"github.com/nikolalohinski/gonja/v2/exec"
)

// What one rendering may cost. Steps and bytes make the outcome depend on the
// input alone; the deadline is the last resort for steps that are each slow.
const (
	baseSteps       = 100_000
	stepsPerMessage = 2_000
	baseBytes       = 1 << 20
	bytesPerByte    = 64 // bytes of work per byte of message
	maxDuration     = 5 * time.Second
	maxDepth        = 32 // of a value: lists in dicts in lists
)

// LimitError reports that a template used more than a rendering may cost.
type LimitError struct {
	What  string // "steps", "bytes", "time" or "depth"
	Limit int64  // in the unit of What; time in nanoseconds
}

func (e *LimitError) Error() string {
	if e.What == "time" {
		return fmt.Sprintf("chat: the template took more than %v", time.Duration(e.Limit))
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
		b.err = &LimitError{"steps", int64(b.stepLimit)}
	case bytes > b.bytes:
		b.err = &LimitError{"bytes", int64(b.byLimit)}
	case time.Now().After(b.deadline):
		b.err = &LimitError{"time", int64(maxDuration)}
	}
	b.steps -= steps
	b.bytes -= bytes
	return b.err
}

// chargeValue charges the size of a value, and refuses a value that contains
// itself, which the engine could not print.
func (b *budget) chargeValue(v any, depth int) error {
	if depth > maxDepth {
		if b.err == nil {
			b.err = &LimitError{"depth", maxDepth}
		}
		return b.err
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
		return b.charge(0, rv.Len())
	case reflect.Map:
		for it := rv.MapRange(); it.Next(); {
			if err := b.chargeValue(it.Key().Interface(), depth+1); err != nil {
				return err
			}
			if err := b.chargeValue(it.Value().Interface(), depth+1); err != nil {
				return err
			}
		}
		return b.charge(0, rv.Len())
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
