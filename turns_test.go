// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// One namespace sends many jobs, then another sends two: those are in the first two
// passes.
func TestNamespacesTakeTurns(t *testing.T) {
	s := &scheduler{limit: 16}
	for range 10 {
		s.waiting = append(s.waiting, &job{namespace: "many", tokens: 8})
	}
	for range 2 {
		s.waiting = append(s.waiting, &job{namespace: "few", tokens: 8}, &job{namespace: "many", tokens: 1, next: true})
	}
	var passes []string
	for len(s.waiting) > 0 {
		s.pick()
		pass := ""
		for _, j := range s.batch {
			pass += fmt.Sprintf(" %s %d", j.namespace, j.tokens)
		}
		passes = append(passes, pass)
	}
	require.Equal(t, []string{" many 1 many 1 many 8 few 8", " many 8 few 8", " many 8 many 8", " many 8 many 8", " many 8 many 8", " many 8 many 8"}, passes)
}

// Whatever arrives, two namespaces that both wait all the time have had equally many
// tokens, but for one job of each; and what is remembered is bounded by who waits.
func TestTurnsAreFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const largest = 50
		var u turns
		names := rapid.IntRange(2, 6).Draw(t, "namespaces")
		had := make([]int, names) // since they last began to wait
		var waiting []*job
		steady := []int{0, 1}
		count := make([]int, names)
		add := func(i int) {
			waiting = append(waiting, &job{namespace: fmt.Sprint(i), tokens: rapid.IntRange(1, largest).Draw(t, "tokens")})
			count[i]++
		}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			for _, i := range steady {
				if count[i] == 0 {
					add(i)
				}
			}
			if rapid.Bool().Draw(t, "more") {
				add(rapid.IntRange(0, names-1).Draw(t, "whose"))
			}
			at := u.next(waiting)
			j := waiting[at]
			for _, before := range waiting[:at] {
				require.NotEqual(t, j.namespace, before.namespace, "of one namespace the first to come")
			}
			u.charge(j)
			var i int
			_, err := fmt.Sscan(j.namespace, &i)
			require.NoError(t, err)
			had[i] += j.tokens
			count[i]--
			waiting = append(waiting[:at], waiting[at+1:]...)
			require.LessOrEqual(t, max(had[0]-had[1], had[1]-had[0]), 2*largest)
			require.LessOrEqual(t, len(u.had), names)
		}
	})
}

// While an answer grows, what is encoded beside it is cut into short passes, and the
// result is the same to the last bit.
func TestPassesAreShortWhileAnswersGrow(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	p := func(e *Engine) *Plan {
		return compile(t, e, &Request{Strategy: Block, Segments: []Segment{{ID: "a", Tokens: randomTokens(r, 1)}}, Query: Tokens(randomTokens(r, 200)...), MaxTokens: NoTokens})
	}
	e := tinyEngine(t)
	q := p(e)
	want, err := e.Generate(t.Context(), q, WithLogits())
	require.NoError(t, err)
	require.EqualValues(t, 1, e.Stats().Passes)

	e = tinyEngine(t)
	e.scheduler.answering.Add(1)
	work := e.model.Config().Work(100, 0)
	e.scheduler.rate.add(work, shortPass.Seconds(), work) // 100 tokens take as long as a pass may
	got, err := e.Generate(t.Context(), q, WithLogits())
	require.NoError(t, err)
	require.Equal(t, want.Logits, got.Logits)
	require.Greater(t, e.Stats().Passes, int64(2))
}
