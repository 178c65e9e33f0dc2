// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package eval

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/graphkv/graphkv"
)

// Variant is a preset with its parameters.
type Variant struct {
	Label   string // "graphkv-topk", "graphkv-topk:top_k=1"
	Request graphkv.Request
}

// Defaults are the parameters of presets that need some and are given none.
func Defaults() graphkv.Request { return graphkv.Request{TopK: 3, Rounds: 1} }

// reserved are the fields of a request that come from the data.
var reserved = []string{"strategy", "prefix", "segments", "edges", "center", "query", "max_tokens", "temperature", "stop"}

// ParseVariants reads a list such as "block,dag:rounds=2:positions=sequential,cacheblend:repair.fraction=0.3":
// presets, each with parameters by the names that the JSON form of a [graphkv.Request] has for
// them. What is not given is as [Defaults] has it. "all" stands for every preset of [graphkv.Strategies].
func ParseVariants(list string) ([]Variant, error) {
	if list == "all" {
		var names []string
		for _, s := range graphkv.Strategies() {
			names = append(names, string(s))
		}
		list = strings.Join(names, ",")
	}
	var out []Variant
	for label := range strings.SplitSeq(list, ",") {
		label = strings.TrimSpace(label)
		v, err := parseVariant(label)
		if err != nil {
			return nil, fmt.Errorf("eval: strategy %q: %w", label, err)
		}
		if slices.ContainsFunc(out, func(w Variant) bool { return w.Label == v.Label }) {
			return nil, fmt.Errorf("eval: strategy %q is listed twice", label)
		}
		out = append(out, v)
	}
	return out, nil
}

func parseVariant(label string) (Variant, error) {
	parts := strings.Split(label, ":")
	name := graphkv.Strategy(parts[0])
	if !slices.Contains(graphkv.Strategies(), name) {
		return Variant{}, fmt.Errorf("there is no such preset (have %v)", graphkv.Strategies())
	}
	base, err := json.Marshal(Defaults())
	if err != nil {
		return Variant{}, err
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(base, &fields); err != nil {
		return Variant{}, err
	}
	for _, p := range parts[1:] {
		key, value, ok := strings.Cut(p, "=")
		if !ok {
			return Variant{}, fmt.Errorf("%q is not name=value", p)
		}
		if slices.Contains(reserved, key) {
			return Variant{}, fmt.Errorf("%s is not a parameter of the preset", key)
		}
		if err := set(fields, key, value); err != nil {
			return Variant{}, err
		}
	}
	data, err := json.Marshal(fields)
	if err != nil {
		return Variant{}, err
	}
	v := Variant{Label: label}
	if err := json.Unmarshal(data, &v.Request); err != nil {
		return Variant{}, err
	}
	v.Request.Strategy = name
	return v, nil
}

// set puts a value, JSON or a plain word, into an object. A key with a dot leads into an object in it.
func set(fields map[string]json.RawMessage, key, value string) (err error) {
	raw := json.RawMessage(value)
	if outer, inner, ok := strings.Cut(key, "."); ok {
		object := map[string]json.RawMessage{}
		if old := fields[outer]; old != nil {
			if err := json.Unmarshal(old, &object); err != nil {
				return fmt.Errorf("%s is not an object", outer)
			}
		}
		if err := set(object, inner, value); err != nil {
			return err
		}
		key = outer
		raw, err = json.Marshal(object)
	} else if !json.Valid(raw) {
		raw, err = json.Marshal(value)
	}
	fields[key] = raw
	return err
}
