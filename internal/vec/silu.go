// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package vec

import "math"

// SiLUMul writes gate·σ(gate)·up to dst, the gated unit of SwiGLU (Shazeer 2020). gate·σ(gate) is gate/(1+e^−gate), which is NaN at −Inf.
// On vectors gate·σ(gate) is computed in float32 with an error below 3.4 units in the last place, and up to |gate|·2⁻¹⁵⁰ more where e^gate is
// denormal (gate < −87.3); the product with up rounds once more. The portable tier computes in float64 with an error below 0.51 units.
func SiLUMul(dst, gate, up []float32) {
	check("SiLUMul", len(dst), len(gate))
	check("SiLUMul", len(dst), len(up))
	if siluMulVector(dst, gate, up) {
		return
	}
	for len(dst) >= 4 && len(gate) >= 4 && len(up) >= 4 {
		x, y, z, w := float64(gate[0]), float64(gate[1]), float64(gate[2]), float64(gate[3])
		a, b, c, d := exp4(-x, -y, -z, -w)
		dst[0], dst[1] = float32(x/(1+a)*float64(up[0])), float32(y/(1+b)*float64(up[1]))
		dst[2], dst[3] = float32(z/(1+c)*float64(up[2])), float32(w/(1+d)*float64(up[3]))
		dst, gate, up = dst[4:], gate[4:], up[4:]
	}
	for i, g := range gate {
		x := float64(g)
		dst[i] = float32(x / (1 + exp(-x)) * float64(up[i]))
	}
}

const (
	// round is 1.5·2⁵²: adding it to a float64 of small magnitude rounds that to an integer, which then stands in the low bits.
	round  = 0x1.8p52
	log2e  = 1 / math.Ln2
	expMin = -700 // e^x is a normal float64 between these
	expMax = 700

	// (e^r−1)/r ≈ 1 + c1·r + … + c6·r⁶ on |r| ≤ ln 2 / 2: interpolation at seven Chebyshev nodes, the middle one giving the exact 1.
	c1 = 0.50000000471177863
	c2 = 0.16666666718997572
	c3 = 0.041666352896649515
	c4 = 0.0083332984837357089
	c5 = 0.0013941108444434013
	c6 = 0.00019899273972751982
)

// exp returns e^x with a relative error below 2⁻³³, enough for the nearest float32 in all but near ties: x = k·ln 2 + r with
// |r| ≤ ln 2 / 2, a polynomial for e^r, and k added to the exponent. Below −700 it is 0 and above 700 +Inf.
func exp(x float64) float64 {
	if !(x >= expMin) {
		if x < expMin {
			return 0
		}
		return x // NaN
	}
	if x > expMax {
		return math.Inf(1)
	}
	t := float64(x*log2e) + round
	k := t - round
	r := x - float64(k*math.Ln2)
	p := float64(c6*r) + c5
	p = float64(p*r) + c4
	p = float64(p*r) + c3
	p = float64(p*r) + c2
	p = float64(p*r) + c1
	p = float64(p*r) + 1
	p = float64(p*r) + 1
	return math.Float64frombits(math.Float64bits(p) + math.Float64bits(t)<<52)
}

// exp4 is exp of four values, the same bits, with the four chains of dependent operations side by side.
func exp4(x, y, z, w float64) (float64, float64, float64, float64) {
	if !(min(x, y, z, w) >= expMin && max(x, y, z, w) <= expMax) {
		return exp(x), exp(y), exp(z), exp(w)
	}
	tx, ty, tz, tw := float64(x*log2e)+round, float64(y*log2e)+round, float64(z*log2e)+round, float64(w*log2e)+round
	x -= float64((tx - round) * math.Ln2)
	y -= float64((ty - round) * math.Ln2)
	z -= float64((tz - round) * math.Ln2)
	w -= float64((tw - round) * math.Ln2)
	px, py, pz, pw := float64(c6*x)+c5, float64(c6*y)+c5, float64(c6*z)+c5, float64(c6*w)+c5
	px, py, pz, pw = float64(px*x)+c4, float64(py*y)+c4, float64(pz*z)+c4, float64(pw*w)+c4
	px, py, pz, pw = float64(px*x)+c3, float64(py*y)+c3, float64(pz*z)+c3, float64(pw*w)+c3
	px, py, pz, pw = float64(px*x)+c2, float64(py*y)+c2, float64(pz*z)+c2, float64(pw*w)+c2
	px, py, pz, pw = float64(px*x)+c1, float64(py*y)+c1, float64(pz*z)+c1, float64(pw*w)+c1
	px, py, pz, pw = float64(px*x)+1, float64(py*y)+1, float64(pz*z)+1, float64(pw*w)+1
	px, py, pz, pw = float64(px*x)+1, float64(py*y)+1, float64(pz*z)+1, float64(pw*w)+1
	return math.Float64frombits(math.Float64bits(px) + math.Float64bits(tx)<<52),
		math.Float64frombits(math.Float64bits(py) + math.Float64bits(ty)<<52),
		math.Float64frombits(math.Float64bits(pz) + math.Float64bits(tz)<<52),
		math.Float64frombits(math.Float64bits(pw) + math.Float64bits(tw)<<52)
}
