// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

//go:build !amd64 || noasm

package cpu

func detect() Tier { return Portable }
