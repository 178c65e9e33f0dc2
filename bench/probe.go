// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package bench

import (
	"os"
	"runtime"
	"strings"
	"sync"

	"github.com/graphkv/graphkv/bench/internal/readpeak"
	"github.com/graphkv/graphkv/internal/cpu"
	"github.com/graphkv/graphkv/internal/gemm/fmapeak"
)

// FMAPeak returns how many 10⁹ operations per second threads together reach with
// fused multiply-adds and nothing else, now; 0 where there is no assembly.
func FMAPeak(threads int) float64 { return FMAPeakOf(cpu.Current(), threads) }

// FMAPeakOf is FMAPeak on a lower tier.
func FMAPeakOf(tier cpu.Tier, threads int) float64 {
	var mu sync.Mutex
	var wg sync.WaitGroup
	sum := 0.0
	for range threads {
		wg.Go(func() {
			rate := fmapeak.GFLOPS(tier)
			mu.Lock()
			sum += rate
			mu.Unlock()
		})
	}
	wg.Wait()
	return sum
}

// ReadBandwidth returns the rate in 10⁹ bytes per second at which threads read so
// many bytes over and over.
func ReadBandwidth(bytes, threads int) float64 { return readpeak.GBps(bytes, threads) }

// Threads returns the thread counts that are measured: one, and all.
func Threads() []int {
	if n := runtime.GOMAXPROCS(0); n > 1 {
		return []int{1, n}
	}
	return []int{1}
}

// Machine describes where a measurement was made.
type Machine struct {
	CPU   string `json:"cpu"`
	Cores int    `json:"cores"`
	Tier  string `json:"tier"`
	OS    string `json:"os"`
	Go    string `json:"go"`
}

// ThisMachine describes the machine it runs on.
func ThisMachine() Machine {
	return Machine{
		CPU: cpuName(), Cores: runtime.NumCPU(), Tier: cpu.Current().String(),
		OS: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(),
	}
}

// cpuName returns the processor's name where the system has a file that tells it.
func cpuName() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	field := map[string]string{}
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); field[name] == "" {
			field[name] = strings.TrimSpace(value)
		}
	}
	name := field["model name"]
	if name == "" {
		return "unknown"
	}
	// Clouds hide the product's name; family and model still tell the generation.
	return name + " (family " + field["cpu family"] + ", model " + field["model"] + ")"
}
