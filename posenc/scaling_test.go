// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The equations of the scalings, written out as published.
func TestFrequencies(t *testing.T) {
	plain := func(base float64, d, i int) float64 { return 1 / math.Pow(base, float64(2*i)/float64(d)) }
	for name, f := range map[string]func(i int) float64{
		"plain":   func(i int) float64 { return plain(10000, 64, i) },
		"partial": func(i int) float64 { return plain(10000, 32, i) },
		"linear":  func(i int) float64 { return plain(10000, 64, i) / 4 },
		"llama3": func(i int) float64 { // wavelengths, as in Llama 3.1's reference code
			f := plain(500000, 128, i)
			wavelength := 2 * math.Pi / f
			switch {
			case wavelength < 8192.0/4:
				return f
			case wavelength > 8192.0/1:
				return f / 8
			}
			smooth := (8192/wavelength - 1) / (4 - 1)
			return (1-smooth)*f/8 + smooth*f
		},
		"yarn": func(i int) float64 { // d·ln(L/(β·2π)) / (2·ln b), floor and ceiling
			low := math.Floor(128 * math.Log(4096/(32*2*math.Pi)) / (2 * math.Log(10000)))
			high := math.Ceil(128 * math.Log(4096/(1*2*math.Pi)) / (2 * math.Log(10000)))
			ramp := math.Max(0, math.Min(1, (float64(i)-low)/(high-low)))
			return plain(10000, 128, i)/16*ramp + plain(10000, 128, i)*(1-ramp)
		},
		"factors": func(i int) float64 { return plain(500000, 128, i) / float64(factors(64)[i]) },
	} {
		got := mustRoPE(t, configs[name]).Frequencies()
		for i := range got {
			assert.InEpsilon(t, f(i), got[i], 1e-13, "%s, frequency %d", name, i)
		}
	}
	assert.InDelta(t, 0.1*math.Log(16)+1, mustRoPE(t, configs["yarn"]).Magnitude(), 1e-15)
	assert.Equal(t, 0.75, mustRoPE(t, configs["yarn-quiet"]).Magnitude())
	assert.Equal(t, 1.0, mustRoPE(t, configs["llama3"]).Magnitude())
	assert.Equal(t, 1.0, YaRNMagnitude(0.5, 1, 0))
}

// With an original context of less than a turn the ramp has no width: only the first frequency is kept.
func TestYaRNWithoutARamp(t *testing.T) {
	got := mustRoPE(t, Config{HeadDim: 64, Base: 10000, Scaling: Scaling{Kind: YaRNScaling, Factor: 2, OriginalContext: 6}}).Frequencies()
	plain := mustRoPE(t, Config{HeadDim: 64, Base: 10000}).Frequencies()
	assert.Equal(t, plain[0], got[0])
	for i := 1; i < len(got); i++ {
		assert.InEpsilon(t, plain[i]/2, got[i], 1e-15)
	}
}

// A Llama 3.1 file in GGUF form carries llama3's ramp as factors; both must give the same rotation.
func TestLlama3AsFactors(t *testing.T) {
	c := configs["llama3"]
	plain := mustRoPE(t, Config{HeadDim: c.HeadDim, Base: c.Base}).Frequencies()
	scaled := mustRoPE(t, c).Frequencies()
	f := make([]float32, len(plain))
	for i := range f {
		f[i] = float32(plain[i] / scaled[i])
	}
	assert.Equal(t, float32(1), f[0])
	assert.InDelta(t, 8, f[len(f)-1], 1e-6)
	got := mustRoPE(t, Config{HeadDim: c.HeadDim, Base: c.Base, Scaling: Scaling{FreqFactors: f}}).Frequencies()
	for i := range got {
		assert.InEpsilon(t, scaled[i], got[i], 1e-7)
	}
}

func TestHuggingFace(t *testing.T) {
	raw, err := os.ReadFile("testdata/rope.json")
	require.NoError(t, err)
	var file struct {
		Cases []struct {
			Name      string
			HeadDim   int     `json:"head_dim"`
			RotaryDim int     `json:"rotary_dim"`
			Theta     float64 `json:"theta"`
			Rope      struct {
				Type            ScalingKind `json:"rope_type"`
				Factor          float64
				Low             float64 `json:"low_freq_factor"`
				High            float64 `json:"high_freq_factor"`
				Original        int     `json:"original_max_position_embeddings"`
				AttentionFactor float64 `json:"attention_factor"`
				BetaFast        float64 `json:"beta_fast"`
				BetaSlow        float64 `json:"beta_slow"`
				MScale          float64 `json:"mscale"`
				MScaleAllDim    float64 `json:"mscale_all_dim"`
				Truncate        *bool
			}
			InvFreq         []float64 `json:"inv_freq"`
			AttentionFactor float64   `json:"attention_factor"`
			X               []float32
			Rotated         []struct {
				Position int
				Y        []float64
			}
		}
	}
	require.NoError(t, json.Unmarshal(raw, &file))
	require.Len(t, file.Cases, 10)
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			s := Scaling{
				Kind: c.Rope.Type, Factor: c.Rope.Factor, OriginalContext: c.Rope.Original,
				LowFreqFactor: c.Rope.Low, HighFreqFactor: c.Rope.High,
				BetaFast: c.Rope.BetaFast, BetaSlow: c.Rope.BetaSlow,
				AttentionFactor: c.Rope.AttentionFactor, NoTruncate: c.Rope.Truncate != nil && !*c.Rope.Truncate,
			}
			if c.Rope.MScale != 0 {
				s.AttentionFactor = YaRNMagnitude(c.Rope.Factor, c.Rope.MScale, c.Rope.MScaleAllDim)
			}
			r := mustRoPE(t, Config{HeadDim: c.HeadDim, RotaryDim: c.RotaryDim, Base: c.Theta, Pairing: HalfSplit, Scaling: s})
			assert.InDelta(t, c.AttentionFactor, r.Magnitude(), 1e-12)
			got := r.Frequencies()
			require.Len(t, got, len(c.InvFreq))
			for i, f := range c.InvFreq { // computed in float32
				assert.InEpsilon(t, f, got[i], 1e-6, "frequency %d", i)
			}
			for _, y := range c.Rotated { // angles in float32: their error grows with the position
				x := append([]float32(nil), c.X...)
				r.Rotate(x, y.Position)
				assertClose(t, y.Y, x, 2e-6+6e-7*float64(y.Position))
			}
		})
	}
}

func TestFactorsAreCopied(t *testing.T) {
	f := factors(32)
	r := mustRoPE(t, Config{HeadDim: 64, Base: 10000, Scaling: Scaling{FreqFactors: f}})
	before := r.Frequencies()
	f[0] = 5
	assert.Equal(t, before, r.Frequencies())
}
