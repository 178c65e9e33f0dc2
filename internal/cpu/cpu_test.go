// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLimitOnlyLowers(t *testing.T) {
	for _, c := range []struct {
		have Tier
		name string
		want Tier
	}{
		{AVX512, "", AVX512}, {AVX512, "avx512", AVX512}, {AVX512, "avx2", AVX2}, {AVX512, "portable", Portable},
		{AVX2, "avx512", AVX2}, {AVX2, "avx2", AVX2}, {AVX2, "portable", Portable},
		{Portable, "avx512", Portable}, {Portable, "avx2", Portable}, {AVX2, "AVX2", AVX2}, {AVX512, "sse", AVX512},
	} {
		assert.Equal(t, c.want, limit(c.have, c.name), "%v limited to %q", c.have, c.name)
	}
}

func TestLowerAndRestore(t *testing.T) {
	have := Current()
	restore := Lower(Portable)
	assert.Equal(t, Portable, Current())
	assert.Equal(t, []Tier{Portable}, Tiers())
	Lower(AVX512)()
	assert.Equal(t, Portable, Current(), "Lower raised the tier")
	restore()
	assert.Equal(t, have, Current())
	assert.Len(t, Tiers(), int(have)+1)
	assert.Equal(t, "Tier(9)", Tier(9).String())
}

// The kernel's own view of the CPU is the second opinion.
func TestDetectAgreesWithTheKernel(t *testing.T) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("needs /proc/cpuinfo of linux/amd64")
	}
	info, err := os.ReadFile("/proc/cpuinfo")
	require.NoError(t, err)
	flags := map[string]bool{}
	for line := range strings.Lines(string(info)) {
		if name, list, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "flags" {
			for _, f := range strings.Fields(list) {
				flags[f] = true
			}
			break
		}
	}
	want := Portable
	if assembly {
		all := func(names ...string) bool {
			for _, n := range names {
				if !flags[n] {
					return false
				}
			}
			return true
		}
		if all("avx2", "fma", "f16c") {
			want = AVX2
			if all("avx512f", "avx512bw", "avx512dq", "avx512vl") {
				want = AVX512
			}
		}
	}
	assert.Equal(t, want, detect())
}

func TestEnvironmentLowersTheTier(t *testing.T) {
	if os.Getenv("GRAPHKV_CPU_TEST_CHILD") != "" {
		assert.Equal(t, Portable, Current())
		return
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe, "-test.run=^TestEnvironmentLowersTheTier$")
	cmd.Env = append(os.Environ(), "GRAPHKV_CPU=portable", "GRAPHKV_CPU_TEST_CHILD=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}
