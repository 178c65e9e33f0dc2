// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package tokenizer

// specials finds special tokens in text: a trie over their bytes.
type specials struct {
	first [256]bool        // bytes that start a token
	edges map[uint64]int32 // node<<8 | byte → node; node 0 is the root
	ids   []int32          // node → token that ends there, or −1
}

func newSpecials() *specials { return &specials{edges: map[uint64]int32{}, ids: []int32{-1}} }

func (t *specials) add(tok string, id int32) {
	t.first[tok[0]] = true
	node := int32(0)
	for i := 0; i < len(tok); i++ {
		e := uint64(node)<<8 | uint64(tok[i])
		child, ok := t.edges[e]
		if !ok {
			child = int32(len(t.ids))
			t.ids = append(t.ids, -1)
			t.edges[e] = child
		}
		node = child
	}
	t.ids[node] = id
}

// find returns the leftmost special token in s, the longest of those that start there, as s[i:j]. Without one, i is len(s).
func (t *specials) find(s string) (i, j int, id int32) {
	for i = 0; i < len(s); i++ {
		if !t.first[s[i]] {
			continue
		}
		node := int32(0)
		id = -1
		for k := i; k < len(s); k++ {
			child, ok := t.edges[uint64(node)<<8|uint64(s[k])]
			if !ok {
				break
			}
			node = child
			if t.ids[node] >= 0 {
				id, j = t.ids[node], k+1
			}
		}
		if id >= 0 {
			return i, j, id
		}
	}
	return len(s), len(s), -1
}
