// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package mem

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAlignedAndZero(t *testing.T) {
	for _, n := range []int{0, 1, 7, 16, 63, 64, 65, 1000, 4096, 70_001, 5 << 20} {
		for range 20 {
			b := Bytes(n)
			require.Len(t, b, n)
			require.True(t, n == 0 || Aligned(b))
			x := Floats(n / 4)
			if n%2 == 1 {
				x = Lasting(n / 4)
			}
			require.Len(t, x, n/4)
			require.Equal(t, n/4, cap(x))
			for _, v := range b {
				if v != 0 {
					t.Fatalf("%d bytes: not zero", n)
				}
			}
			for _, v := range x {
				if v != 0 {
					t.Fatalf("%d floats: not zero", n/4)
				}
			}
			for i := range b { // what is allocated next may be this memory
				b[i] = 1
			}
			for i := range x {
				x[i] = 1
			}
		}
	}
	for from := range Align {
		b := within(make([]byte, 3*Align)[from:], 100)
		require.Len(t, b, 100)
		require.Equal(t, 100, cap(b))
		require.True(t, Aligned(b), "from %d", from)
	}
	b := Bytes(128)
	require.False(t, Aligned(b[1:]))
	require.True(t, Aligned(b[64:]))
}
