// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEveryStrategySaysWhatItDoes(t *testing.T) {
	for _, s := range Strategies() {
		require.NotEmpty(t, s.About(), s)
	}
	require.Len(t, about, len(Strategies()))
	require.Empty(t, Strategy("no such").About())
}
