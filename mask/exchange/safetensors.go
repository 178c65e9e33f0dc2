// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// maxSafetensorsHeader is the longest header that is read. The format allows 100 MB, for models of many thousand tensors.
const maxSafetensorsHeader = 1 << 20

// tensorInfo is an entry of the header, https://huggingface.co/docs/safetensors: offsets are relative to the header's end.
type tensorInfo struct {
	DType   string   `json:"dtype"`
	Shape   []int    `json:"shape"`
	Offsets [2]int64 `json:"data_offsets"`
}

const metadataKey = "__metadata__"

// writeSafetensors writes arrays and metadata: the length of a header, the header in JSON, padded so that elements are
// aligned, and the elements without gaps, larger types first as in the format's own writer.
func writeSafetensors(w io.Writer, arrays []array, metadata map[string]string) error {
	arrays = slices.Clone(arrays)
	slices.SortStableFunc(arrays, func(a, b array) int { return cmp.Compare(b.dtype.size(), a.dtype.size()) })
	entries := map[string]any{metadataKey: metadata}
	at := int64(0)
	for i := range arrays {
		n, err := arrays[i].bytes()
		if err != nil {
			return err
		}
		entries[arrays[i].name] = tensorInfo{dtypes[arrays[i].dtype].safetensors, arrays[i].shape, [2]int64{at, at + n}}
		at += n
	}
	header, err := json.Marshal(entries)
	if err != nil {
		return err
	}
	header = append(header, bytes.Repeat([]byte(" "), (8-len(header)%8)%8)...)
	if _, err := w.Write(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...)); err != nil {
		return err
	}
	for i := range arrays {
		if err := writeArray(w, &arrays[i]); err != nil {
			return err
		}
	}
	return nil
}

// parseSafetensors reads those of a file's tensors that have one of the names, and the metadata. Elements are views.
func parseSafetensors(data []byte, known map[string]bool, limit int64) (map[string]array, map[string]string, error) {
	if len(data) < 8 {
		return nil, nil, errors.New("it is too short for any of the formats")
	}
	length := binary.LittleEndian.Uint64(data)
	data = data[8:]
	switch {
	case length > uint64(len(data)) || length == 0 || data[0] != '{':
		return nil, nil, errors.New("it is neither a .npy, a .npz nor a .safetensors file")
	case length > maxSafetensorsHeader:
		return nil, nil, fmt.Errorf("a header of %d bytes, the limit is %d", length, maxSafetensorsHeader)
	}
	header, data := data[:length], data[length:]
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(header, &entries); err != nil {
		return nil, nil, fmt.Errorf("its header: %w", err)
	}
	var metadata map[string]string
	if raw, ok := entries[metadataKey]; ok {
		if err := json.Unmarshal(raw, &metadata); err != nil {
			return nil, nil, fmt.Errorf("its metadata: %w", err)
		}
		delete(entries, metadataKey)
	}
	infos := make(map[string]tensorInfo, len(entries))
	for name, raw := range entries {
		var t tensorInfo
		if err := json.Unmarshal(raw, &t); err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		infos[name] = t
	}
	// Tensors must lie one after the other and fill the file.
	names := slices.SortedFunc(maps.Keys(infos), func(a, b string) int {
		x, y := infos[a].Offsets, infos[b].Offsets
		return cmp.Or(cmp.Compare(x[0], y[0]), cmp.Compare(x[1], y[1]), cmp.Compare(a, b))
	})
	at := int64(0)
	for _, name := range names {
		o := infos[name].Offsets
		if o[0] != at || o[1] < at || o[1] > int64(len(data)) {
			return nil, nil, fmt.Errorf("tensor %q lies at %v, expected from %d to at most %d", name, o, at, len(data))
		}
		at = o[1]
	}
	if at != int64(len(data)) {
		return nil, nil, fmt.Errorf("%d bytes follow the last tensor", int64(len(data))-at)
	}
	arrays, left := map[string]array{}, limit
	for _, name := range names {
		if !known[name] {
			continue
		}
		t := infos[name]
		a := array{name: name, shape: t.Shape, data: data[t.Offsets[0]:t.Offsets[1]]}
		ok := false
		for d := range dtypes {
			if dtypes[d].safetensors == t.DType && t.DType != "" {
				a.dtype, ok = dtype(d), true
			}
		}
		if !ok {
			return nil, nil, fmt.Errorf("tensor %q is of type %q, which is not read", name, t.DType)
		}
		n, err := a.bytes()
		if err != nil {
			return nil, nil, err
		}
		if n != int64(len(a.data)) {
			return nil, nil, fmt.Errorf("tensor %q has %d bytes, shape %v of %s needs %d", name, len(a.data), t.Shape, t.DType, n)
		}
		if left -= n; left < 0 {
			return nil, nil, &LimitError{What: fmt.Sprintf("tensor %q", name), Bytes: n, Limit: limit}
		}
		arrays[name] = a
	}
	return arrays, metadata, nil
}
