// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

//go:build !amd64 || noasm

package attention

import "github.com/graphkv/graphkv/internal/cpu"

func kernelsFor(cpu.Tier, int) *kernels { return &portable }
