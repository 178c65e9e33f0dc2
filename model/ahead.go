// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model

import (
	"github.com/graphkv/graphkv/internal/gemm"
	"github.com/graphkv/graphkv/kvcache"
)

// listAhead lists the keys and values that a batch of nothing but steps of generation attends to. Each of them is read once in a pass, which
// takes attention longer than to compute with them, while the products of some rows compute for longer than they read: those of one layer
// bring closer what the next one attends to.
func (ws *Workspace) listAhead(total int, runs []Run) {
	if total != len(runs) {
		return
	}
	for i := range runs {
		if r := &runs[i]; !r.Decode || r.Layers > 0 {
			return
		}
	}
	for i := range runs {
		r := &runs[i]
		for j := range r.Sources {
			s := &r.Sources[j]
			ws.addAhead(s.KV, s.From, s.Tokens())
		}
		ws.addAhead(r.KV, r.From, r.At+1)
	}
}

// addAhead lists n tokens of kv, head by head.
func (ws *Workspace) addAhead(kv *kvcache.KV, from, n int) {
	apart := len(kv.Data()) / kv.Shape().Layers
	x := kv.Layer(0).From(from)
	for h := range x.KVHeads() {
		keys, values := x.Memory(h, 0, n)
		ws.ahead = append(ws.ahead, gemm.Stretch{First: keys, Apart: apart}, gemm.Stretch{First: values, Apart: apart})
	}
}

// lookAhead has the products that follow bring closer what is listed of a layer, if there is one.
func (ws *Workspace) lookAhead(layer, layers int) {
	if layer == layers {
		ws.gemm.Ahead(0, nil)
		return
	}
	ws.gemm.Ahead(layer, ws.ahead)
}

// forgetAhead lets go of the list.
func (ws *Workspace) forgetAhead() {
	ws.gemm.Ahead(0, nil)
	clear(ws.ahead)
	ws.ahead = ws.ahead[:0]
}
