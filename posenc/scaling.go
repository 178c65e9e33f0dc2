// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc

import (
	"errors"
	"fmt"
	"math"
)

// ErrDynamicScaling is wrapped by NewRoPE's error for encodings whose frequencies depend on the length of the sequence at
// run time. Keys rotated under one length would be wrong under another, so they cannot be stored and reused.
var ErrDynamicScaling = errors.New("frequencies that depend on the run-time length cannot be cached")

// ScalingKind names a way of changing RoPE's frequencies. The values are the names used in Hugging Face's rope_scaling and
// in GGUF's rope.scaling.type; "default" and "none" are read as NoScaling.
type ScalingKind string

const (
	NoScaling     ScalingKind = ""
	LinearScaling ScalingKind = "linear" // position interpolation (Chen et al., 2023): every frequency divided by Factor
	Llama3Scaling ScalingKind = "llama3" // Llama 3.1: long wavelengths divided by Factor, short ones kept, a ramp between
	YaRNScaling   ScalingKind = "yarn"   // YaRN (Peng et al., 2023), "NTK by parts" and a magnitude, with a fixed Factor
)

// Scaling changes the frequencies f_i = Base^(−2i/RotaryDim), i = 0…RotaryDim/2−1. The zero value leaves them as they are.
// Fields that a kind does not use are ignored, except a Factor without a kind, which is an error.
type Scaling struct {
	Kind ScalingKind

	// Factor is the extension of the context, at least 1 (linear, llama3, yarn).
	Factor float64
	// OriginalContext is the context length of the pre-training, original_max_position_embeddings (llama3, yarn).
	OriginalContext int

	// LowFreqFactor and HighFreqFactor bound llama3's ramp: wavelengths above OriginalContext/LowFreqFactor are scaled, those
	// below OriginalContext/HighFreqFactor are kept. 0 stands for 1 and 4.
	LowFreqFactor, HighFreqFactor float64

	// BetaFast and BetaSlow bound YaRN's ramp, in rotations over OriginalContext. 0 stands for 32 and 1.
	BetaFast, BetaSlow float64
	// NoTruncate keeps the ends of YaRN's ramp where they are (Hugging Face: truncate = false) instead of rounding them
	// outwards to whole frequencies as the published code does.
	NoTruncate bool
	// AttentionFactor is YaRN's magnitude: Rotate multiplies the rotated dimensions by it, so scores grow by its square.
	// 0 stands for the published 0.1·ln(Factor)+1. For models that give mscale and mscale_all_dim it is YaRNMagnitude. In a
	// GGUF file rope.scaling.attn_factor comes on top: there it is the published value times that factor.
	AttentionFactor float64

	// FreqFactors, when not nil, divides frequency i by FreqFactors[i] (GGUF: the tensor rope_freqs.weight). Its length is
	// RotaryDim/2. It combines with every kind but llama3, whose ramp it usually already holds.
	FreqFactors []float32
}

// YaRNMagnitude returns the magnitude for models that give mscale and mscale_all_dim (DeepSeek): the quotient of
// 0.1·m·ln(factor)+1 for both. With (factor, 1, 0) it is the published 0.1·ln(factor)+1. A factor up to 1 gives 1.
func YaRNMagnitude(factor, mscale, mscaleAllDim float64) float64 {
	get := func(m float64) float64 {
		if factor <= 1 {
			return 1
		}
		return 0.1*m*math.Log(factor) + 1
	}
	return get(mscale) / get(mscaleAllDim)
}

// normalize fills in defaults, clears what the kind does not use and checks the rest.
func (s Scaling) normalize(half int) (Scaling, error) {
	out := Scaling{Kind: s.Kind, FreqFactors: append([]float32(nil), s.FreqFactors...)}
	switch s.Kind {
	case NoScaling, "none", "default":
		out.Kind = NoScaling
		if s.Factor != 0 && s.Factor != 1 {
			return out, fmt.Errorf("scaling factor %v without a kind of scaling", s.Factor)
		}
	case LinearScaling, Llama3Scaling, YaRNScaling:
		if !(s.Factor >= 1) || math.IsInf(s.Factor, 0) {
			return out, fmt.Errorf("%s scaling: factor %v, want a finite number of at least 1", s.Kind, s.Factor)
		}
		out.Factor = s.Factor
	case "dynamic", "longrope", "su":
		return out, fmt.Errorf("%s scaling: %w", s.Kind, ErrDynamicScaling)
	default:
		return out, fmt.Errorf("unknown scaling %q", s.Kind)
	}
	if s.Kind == Llama3Scaling || s.Kind == YaRNScaling {
		if s.OriginalContext < 1 {
			return out, fmt.Errorf("%s scaling: original context %d, want at least 1", s.Kind, s.OriginalContext)
		}
		out.OriginalContext = s.OriginalContext
	}
	switch s.Kind {
	case Llama3Scaling:
		out.LowFreqFactor, out.HighFreqFactor = orDefault(s.LowFreqFactor, 1), orDefault(s.HighFreqFactor, 4)
		if !(out.LowFreqFactor > 0 && out.HighFreqFactor > out.LowFreqFactor) || math.IsInf(out.HighFreqFactor, 0) {
			return out, fmt.Errorf("llama3 scaling: low and high frequency factors %v and %v, want 0 < low < high",
				out.LowFreqFactor, out.HighFreqFactor)
		}
		if s.FreqFactors != nil {
			return out, errors.New("llama3 scaling and frequency factors together would scale twice")
		}
	case YaRNScaling:
		out.BetaFast, out.BetaSlow = orDefault(s.BetaFast, 32), orDefault(s.BetaSlow, 1)
		if !(out.BetaSlow > 0 && out.BetaFast >= out.BetaSlow) || math.IsInf(out.BetaFast, 0) {
			return out, fmt.Errorf("yarn scaling: beta fast and slow %v and %v, want fast ≥ slow > 0", out.BetaFast, out.BetaSlow)
		}
		out.NoTruncate = s.NoTruncate
		out.AttentionFactor = orDefault(s.AttentionFactor, YaRNMagnitude(s.Factor, 1, 0))
		if !(out.AttentionFactor > 0) || math.IsInf(out.AttentionFactor, 0) {
			return out, fmt.Errorf("yarn scaling: attention factor %v, want a positive number", out.AttentionFactor)
		}
	}
	if s.FreqFactors != nil && len(s.FreqFactors) != half {
		return out, fmt.Errorf("%d frequency factors, want %d (half the rotary dimension)", len(s.FreqFactors), half)
	}
	for i, f := range s.FreqFactors {
		if !(f > 0) || math.IsInf(float64(f), 0) {
			return out, fmt.Errorf("frequency factor %d is %v, want a positive number", i, f)
		}
	}
	return out, nil
}

func orDefault(x, d float64) float64 {
	if x == 0 {
		return d
	}
	return x
}

// frequencies returns the scaled frequencies in radians per position. s is normalized.
func (s Scaling) frequencies(base float64, rotaryDim int) []float64 {
	freq := make([]float64, rotaryDim/2)
	for i := range freq {
		freq[i] = math.Pow(base, -2*float64(i)/float64(rotaryDim))
	}
	switch s.Kind {
	case LinearScaling:
		for i := range freq {
			freq[i] /= s.Factor
		}
	case Llama3Scaling:
		s.llama3(freq)
	case YaRNScaling:
		s.yarn(freq, base, rotaryDim)
	}
	for i, f := range s.FreqFactors {
		freq[i] /= float64(f)
	}
	return freq
}

// llama3 blends f/Factor and f with weight (1−t, t), where t ramps over the number of turns a frequency makes within the
// original context, from LowFreqFactor to HighFreqFactor (Llama 3.1's reference code, apply_scaling).
func (s Scaling) llama3(freq []float64) {
	for i, f := range freq {
		turns := float64(s.OriginalContext) * f / (2 * math.Pi)
		t := clamp01((turns - s.LowFreqFactor) / (s.HighFreqFactor - s.LowFreqFactor))
		freq[i] = (1-t)*f/s.Factor + t*f
	}
}

// yarn blends f and f/Factor by a ramp over the index of the frequency (YaRN, section 3.2, in the published code's form):
// frequencies that make more than BetaFast turns within the original context are kept, those with fewer than BetaSlow are
// divided by Factor.
func (s Scaling) yarn(freq []float64, base float64, rotaryDim int) {
	index := func(turns float64) float64 { // the (real) index of the frequency that makes so many turns
		return float64(rotaryDim) * math.Log(float64(s.OriginalContext)/(turns*2*math.Pi)) / (2 * math.Log(base))
	}
	low, high := index(s.BetaFast), index(s.BetaSlow)
	if !s.NoTruncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, float64(rotaryDim-1))
	if low == high {
		high += 0.001
	}
	for i, f := range freq {
		t := clamp01((float64(i) - low) / (high - low))
		freq[i] = (1-t)*f + t*f/s.Factor
	}
}

func clamp01(x float64) float64 { return min(max(x, 0), 1) }
