// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package eval

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// Normalisation and measures are those of an independent implementation in Python,
// testdata/scores.py.
func TestCompareAgreesWithReference(t *testing.T) {
	data, err := os.ReadFile("testdata/scores.json")
	require.NoError(t, err)
	var cases []struct {
		Text       string
		Answers    []string
		Normalised string
		Subspan    bool
		Exact      bool
		F1         float64
	}
	require.NoError(t, json.Unmarshal(data, &cases))
	require.Greater(t, len(cases), 300)
	right := 0
	for _, c := range cases {
		require.Equal(t, c.Normalised, Normalise(c.Text), "%q", c.Text)
		got := Compare(c.Text, c.Answers)
		require.Equal(t, Match{Subspan: c.Subspan, Exact: c.Exact, F1: got.F1}, got, "%q %q", c.Text, c.Answers)
		require.InDelta(t, c.F1, got.F1, 1e-12, "%q %q", c.Text, c.Answers)
		if c.Subspan && !c.Exact {
			right++
		}
	}
	require.Greater(t, right, 20)
}

func TestFinalAnswer(t *testing.T) {
	require.Equal(t, "1999", MoreHop.Final("The answer: 12.\nSo, Answer: 1999"))
	require.Equal(t, "no mark", MoreHop.Final("no mark"))
	require.Equal(t, "Yes.", MultiHop.Final("Both do. The answer is: Yes."))
	require.Equal(t, "answer: x", RAG.Final("answer: x"))
}
