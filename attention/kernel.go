// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention

import (
	"errors"
	"fmt"
	"math"

	"github.com/graphkv/graphkv/posenc"
)

// ErrConfig is wrapped by every error that New returns.
var ErrConfig = errors.New("attention: invalid configuration")

// Config describes the heads of an attention layer.
type Config struct {
	Heads   int // query heads, a multiple of KVHeads
	KVHeads int // key/value heads
	HeadDim int // elements of one head's query, key or value
	// Scale multiplies the dot products. 0 means 1/√HeadDim.
	Scale float32
	// RoPE rotates query rows to each part's positions. Nil means that queries
	// are used as they are and that Part.Shift has no effect.
	RoPE *posenc.RoPE
}

// Kernel computes attention for one configuration. It is immutable and safe for
// concurrent use, each concurrent call with its own Workspace.
type Kernel struct {
	heads, kvHeads, headDim int
	group                   int // query heads per key/value head
	scale                   float32
	rope                    *posenc.RoPE
}

// New returns a kernel for c, or an error that wraps ErrConfig.
func New(c Config) (*Kernel, error) {
	bad := func(format string, args ...any) (*Kernel, error) {
		return nil, fmt.Errorf("%w: %s", ErrConfig, fmt.Sprintf(format, args...))
	}
	switch {
	case c.Heads < 1 || c.KVHeads < 1 || c.HeadDim < 1:
		return bad("Heads %d, KVHeads %d and HeadDim %d must be positive", c.Heads, c.KVHeads, c.HeadDim)
	case c.Heads%c.KVHeads != 0:
		return bad("Heads %d is not a multiple of KVHeads %d", c.Heads, c.KVHeads)
	case c.Heads > math.MaxInt32/c.HeadDim:
		return bad("Heads %d × HeadDim %d exceeds %d", c.Heads, c.HeadDim, math.MaxInt32)
	case !finite(c.Scale):
		return bad("Scale is %v", c.Scale)
	case c.RoPE != nil && c.RoPE.HeadDim() != c.HeadDim:
		return bad("RoPE rotates heads of %d elements, HeadDim is %d", c.RoPE.HeadDim(), c.HeadDim)
	}
	k := &Kernel{
		heads: c.Heads, kvHeads: c.KVHeads, headDim: c.HeadDim,
		group: c.Heads / c.KVHeads, scale: c.Scale, rope: c.RoPE,
	}
	if k.scale == 0 {
		k.scale = float32(1 / math.Sqrt(float64(c.HeadDim)))
	}
	return k, nil
}

func finite(x float32) bool { return x-x == 0 }
