// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/attention/attentiontest"
	"github.com/graphkv/graphkv/internal/cpu"
	"github.com/graphkv/graphkv/internal/pool"
)

// with returns an implementation that runs on p and reuses one workspace for
// all shapes.
func with(p *pool.Pool) attentiontest.Attend {
	ws := new(attention.Workspace)
	return func(c attention.Config, queries []attention.Query) error {
		k, err := attention.New(c)
		if err != nil {
			return err
		}
		return k.Attend(p, ws, queries)
	}
}

// onEveryTier runs f once per tier that the machine has, with the higher ones switched off.
func onEveryTier(t *testing.T, f func(t *testing.T)) {
	for _, tier := range cpu.Tiers() {
		t.Run(tier.String(), func(t *testing.T) {
			defer cpu.Lower(tier)()
			f(t)
		})
	}
}

func TestSuite(t *testing.T) {
	p := pool.New(3)
	defer p.Close()
	onEveryTier(t, func(t *testing.T) { attentiontest.Suite(t, with(p)) })
}

func TestSuiteOneWorker(t *testing.T) {
	p := pool.New(1)
	defer p.Close()
	attentiontest.Suite(t, with(p))
}

// FuzzReference lets the fuzzer choose what rapid draws.
func FuzzReference(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("segments and sources"))
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) { attentiontest.Reference(t, with(nil)) }))
}
