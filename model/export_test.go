// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model

// ProbeMemory returns how many numbers of scratch memory a workspace holds for
// probes.
func ProbeMemory(ws *Workspace) int {
	p := &ws.probing
	return cap(p.total) + cap(p.out) + cap(p.lse) + cap(p.queries) + cap(p.shares)
}
