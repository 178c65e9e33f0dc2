// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package eval

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/stat/distuv"
)

// The bootstrap of a share is a binomial, whose percentiles are known.
func TestBootstrapOfAShare(t *testing.T) {
	const n, right = 100, 30
	column := make([]float64, n)
	for i := range right {
		column[i*3] = 1
	}
	got := bootstrap([][]float64{column}, 1)[0]
	require.InDelta(t, 0.3, got.Mean, 1e-12)
	b := distuv.Binomial{N: n, P: right / float64(n)}
	at := func(p float64) float64 { // the smallest k with P(X ≤ k) ≥ p
		k := 0.0
		for b.CDF(k) < p {
			k++
		}
		return k / n
	}
	require.InDelta(t, at(0.025), got.Low, 0.0101)
	require.InDelta(t, at(0.975), got.High, 0.0101)
}

// The bootstrap of a mean of many values is normal, by its standard error.
func TestBootstrapOfAMean(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	column := make([]float64, 400)
	sum, squares := 0.0, 0.0
	for i := range column {
		column[i] = r.Float64()
		sum += column[i]
		squares += column[i] * column[i]
	}
	n := float64(len(column))
	mean := sum / n
	se := math.Sqrt((squares/n - mean*mean) / n)
	got := bootstrap([][]float64{column}, 5)[0]
	require.InDelta(t, mean, got.Mean, 1e-12)
	require.InDelta(t, mean-1.96*se, got.Low, 0.15*se)
	require.InDelta(t, mean+1.96*se, got.High, 0.15*se)
}

// Columns share resamples: a constant difference between two is certain, however wide
// their own intervals are. A seed makes it repeatable.
func TestBootstrapIsPairedAndSeeded(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 1))
	a, b, d := make([]float64, 50), make([]float64, 50), make([]float64, 50)
	for i := range a {
		a[i] = r.Float64()
		b[i] = a[i] + 0.25
		d[i] = b[i] - a[i]
	}
	got := bootstrap([][]float64{a, b, d}, 9)
	require.InDelta(t, 0.25, got[2].Low, 1e-12)
	require.InDelta(t, 0.25, got[2].High, 1e-12)
	require.InDelta(t, got[0].Low+0.25, got[1].Low, 1e-12)
	require.Greater(t, got[0].High-got[0].Low, 0.1)
	require.Equal(t, got, bootstrap([][]float64{a, b, d}, 9))
	require.Equal(t, got[:1], bootstrap([][]float64{a}, 9), "whatever stands next to it")
	require.NotEqual(t, got[0], bootstrap([][]float64{a}, 10)[0])
	one := bootstrap([][]float64{{0.5}}, 1)[0]
	require.Equal(t, Interval{0.5, 0.5, 0.5}, one)
}

// Worked by hand: of three items, one has the same answer in all three orders, one in two
// of them, one in none.
func TestSensitivity(t *testing.T) {
	got := sensitivity([][]string{{"a", "a", "a"}, {"a", "b", "a"}, {"a", "b", "c"}}, [][]float64{{1, 1, 1}, {1, 0, 1}, {0, 0, 0}})
	require.InDelta(t, 2.0/3, got.Changed, 1e-12)
	require.InDelta(t, (1+1.0/3+0)/3, got.Agreement, 1e-12)
	require.InDelta(t, (0+2.0/9+0)/3, got.Variance, 1e-12)
	require.Equal(t, Sensitivity{0, 1, 0}, sensitivity([][]int{{4}}, [][]float64{{1}}))
}

// Values of numpy.percentile with its default method.
func TestQuantile(t *testing.T) {
	x := []float64{15, 20, 35, 40, 50}
	for p, want := range map[float64]float64{0: 15, 0.05: 16, 0.3: 23, 0.4: 29, 0.5: 35, 0.9: 46, 0.95: 48, 1: 50} {
		require.InDelta(t, want, quantile(x, p), 1e-12, p)
	}
	require.Equal(t, 7.0, quantile([]float64{7}, 0.9))
}

func TestLatency(t *testing.T) {
	moments := []Moment{{30, 10, 0}, {10, 20, 4}, {20, 30, 8}}
	require.Equal(t, Latency{Median: 20, P90: 28, Encoded: 20, Reused: 4}, latency(moments))
	slices.Reverse(moments)
	require.Equal(t, 20.0, latency(moments).Median)
}
