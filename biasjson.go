// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"encoding/json"
	"fmt"
	"math"
)

// UnmarshalJSON reads a list of objects, each with the "kind" of a bias and its fields.
func (b *Biases) UnmarshalJSON(data []byte) error {
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		return fmt.Errorf(`biases are a list of objects with a "kind"`)
	}
	*b = nil
	for i, fields := range list {
		var kind string
		if err := json.Unmarshal(fields["kind"], &kind); err != nil {
			return fmt.Errorf(`bias %d has no "kind"`, i)
		}
		delete(fields, "kind")
		bias, err := decodeBias(kind, fields)
		if err != nil {
			return fmt.Errorf("bias %d (%s): %w", i, kind, err)
		}
		*b = append(*b, bias)
	}
	return nil
}

func decodeBias(kind string, fields map[string]json.RawMessage) (Bias, error) {
	switch kind {
	case ALiBiBias{}.kind():
		return decodeFields[ALiBiBias](fields)
	case ShortestPathBias{}.kind():
		return decodeFields[ShortestPathBias](fields)
	case RandomWalkBias{}.kind():
		return decodeFields[RandomWalkBias](fields)
	case RelationBias{}.kind():
		return decodeFields[RelationBias](fields)
	case RelevanceBias{}.kind():
		return decodeFields[RelevanceBias](fields)
	}
	return nil, fmt.Errorf("unknown kind %q", kind)
}

func decodeFields[T Bias](fields map[string]json.RawMessage) (Bias, error) {
	data, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	var b T
	if err := decodeStrict(data, &b); err != nil {
		return nil, err
	}
	return b, nil
}

// MarshalJSON writes what UnmarshalJSON reads. A [FuncBias] is an error.
func (b Biases) MarshalJSON() ([]byte, error) {
	out := []byte("[")
	for i, bias := range b {
		switch bias.(type) {
		case nil, FuncBias:
			return nil, fmt.Errorf("graphkv: bias %d is a function or nil and has no JSON form", i)
		}
		fields, err := json.Marshal(bias)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = fmt.Appendf(out, `{"kind":%q`, bias.kind())
		if len(fields) > len("{}") {
			out = append(out, ',')
		}
		out = append(out, fields[1:]...)
	}
	return append(out, ']'), nil
}

// UnmarshalJSON reads a number or a list of numbers, in which null stands for −Inf.
func (p *PerHead) UnmarshalJSON(data []byte) error {
	var one *float64
	if json.Unmarshal(data, &one) == nil && one != nil {
		*p = PerHead{*one}
		return nil
	}
	var list []*float64
	if err := json.Unmarshal(data, &list); err != nil || list == nil {
		return fmt.Errorf("%s is neither a number nor a list of numbers, one per head", data)
	}
	*p = make(PerHead, len(list))
	for h, x := range list {
		(*p)[h] = math.Inf(-1)
		if x != nil {
			(*p)[h] = *x
		}
	}
	return nil
}

// MarshalJSON writes a list of numbers.
func (p PerHead) MarshalJSON() ([]byte, error) {
	list := make([]*float64, len(p))
	for h := range p {
		if !math.IsInf(p[h], -1) {
			list[h] = &p[h]
		}
	}
	return json.Marshal(list)
}
