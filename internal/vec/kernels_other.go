// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

//go:build !amd64 || noasm

package vec

func siluMulVector(_, _, _ []float32) bool             { return false }
func addVector(_, _ []float32) bool                    { return false }
func sumSquaresVector([]float32) (float64, bool)       { return 0, false }
func scaleMulVector(_, _, _ []float32, _ float64) bool { return false }

func rotateInterleavedVector(_, _ []float32, _ *Rows) bool { return false }
func rotateHalfSplitVector(_, _ []float32, _ *Rows) bool   { return false }
