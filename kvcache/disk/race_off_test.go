// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

//go:build !race

package disk

const raceEnabled = false
