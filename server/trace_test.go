// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
)

// tracedEvent is any event of a trace.
type tracedEvent struct {
	Event string
	Error *struct{ Code string }
	Text  string

	Nodes []struct {
		ID, Segment, Origin string
		Round, Tokens, Base int
	}
	Usage        graphkv.Usage
	FinishReason string `json:"finish_reason"`
	Readers      []tracedReader
	Block, Side  int
	Tokens       json.RawMessage // a number in "mask", a list in "done"
	Density      float64
	Blocks       [][3]any
}

// told is what a trace tells, in order; the pieces of the text are one event.
type told struct {
	order                            []string
	text                             string
	plan, prepared, done, read, mask tracedEvent
}

func tell(t testing.TB, events []string) (all told) {
	t.Helper()
	require.Equal(t, "[DONE]", events[len(events)-1])
	for _, data := range events[:len(events)-1] {
		var e tracedEvent
		require.NoError(t, json.Unmarshal([]byte(data), &e), data)
		require.Nil(t, e.Error, data)
		if n := len(all.order); n == 0 || e.Event != "text" || all.order[n-1] != "text" {
			all.order = append(all.order, e.Event)
		}
		switch e.Event {
		case "plan":
			all.plan = e
		case "prepared":
			all.prepared = e
		case "text":
			require.NotEmpty(t, e.Text)
			all.text += e.Text
		case "done":
			all.done = e
		case "read":
			all.read = e
		case "mask":
			all.mask = e
		}
	}
	return all
}

const tracePath = "/v1/graphkv/trace"

// traceBody asks about three documents, of which the second reads the first, with a
// strategy.
func traceBody(strategy string) string {
	return chatBody(`,"max_tokens":12,"graphkv":` + strategy + `,"documents":[{"id":"a","title":"A","text":"Ann did it."},{"id":"b","text":"Bob saw it.","links":["a"]},{"id":"c","text":"Carl was away."}]`)
}

// Under every strategy a trace tells the same things in the same order; its answer is
// that of a chat, what it says of tokens adds up, and every reader's attention is 1.
func TestTraceTellsEverything(t *testing.T) {
	s := serve(t, Options{})
	for _, strategy := range graphkv.Strategies() {
		settings := fmt.Sprintf(`{"strategy":%q,"top_k":2}`, strategy)
		if strategy == graphkv.Ego {
			settings = `{"strategy":"ego","center":"b","edges":[["c","b"]]}`
		}
		var want reply
		s.ok("POST", "/v1/chat/completions", traceBody(settings), &want, "X-Namespace", "other")
		cold := tell(t, s.stream(tracePath, traceBody(settings), "X-Namespace", string(strategy)))
		warm := tell(t, s.stream(tracePath, traceBody(settings), "X-Namespace", string(strategy)))
		for _, got := range []told{cold, warm} {
			require.Equal(t, []string{"plan", "prepared", "text", "done", "read", "mask"}, got.order, strategy)
			require.Equal(t, want.text(), got.text)
			require.Equal(t, "length", got.done.FinishReason)
			tokens := make(map[string]int)
			for _, n := range got.plan.Nodes {
				tokens[n.ID] = n.Tokens
				switch {
				case n.ID == "prefix" || n.ID == "query":
					require.Empty(t, n.Segment)
				default:
					require.Contains(t, []string{"a", "b", "c"}, n.Segment, n.ID)
				}
			}
			for _, n := range got.prepared.Nodes {
				require.Contains(t, tokens, n.ID)
			}
			var readers []string
			for _, r := range got.read.Readers {
				sum := 0.0
				for _, read := range r.Reads {
					sum += read.Mass
				}
				require.InDelta(t, 1, sum, 1e-4, r.ID)
				readers = append(readers, r.ID)
			}
			require.Equal(t, []string{"query", "answer"}, readers[len(readers)-2:], strategy)
			checkTracedMask(t, got.mask)
		}
		elsewhere := tell(t, s.stream(tracePath, traceBody(settings), "X-Namespace", "not "+string(strategy)))
		require.Equal(t, cold.done.Usage, elsewhere.done.Usage, "namespaces share nothing")
		require.Equal(t, cold.prepared, elsewhere.prepared)
		require.Greater(t, cold.done.Usage.EncodedTokens, warm.done.Usage.EncodedTokens)
		for _, n := range warm.prepared.Nodes {
			require.Equal(t, n.ID == "query", n.Origin == "encoded", "%s of %s", n.ID, strategy)
		}
	}
}

// checkTracedMask: the nodes' tokens are the mask's, blocks are in order and within it,
// and all tokens see themselves.
func checkTracedMask(t testing.TB, m tracedEvent) {
	t.Helper()
	tokens, sum := 0, 0
	require.NoError(t, json.Unmarshal(m.Tokens, &tokens))
	for _, n := range m.Nodes {
		require.Positive(t, n.Tokens)
		sum += n.Tokens
	}
	require.Equal(t, tokens, sum)
	require.Equal(t, (tokens+m.Block-1)/m.Block, m.Side)
	require.LessOrEqual(t, m.Side, defaultMaskSide)
	require.True(t, m.Density > 0 && m.Density <= 1)
	diagonal, last := 0, -1
	for _, b := range m.Blocks {
		row, col := int(b[0].(float64)), int(b[1].(float64))
		require.Contains(t, []any{"full", "partial"}, b[2])
		require.Less(t, max(row, col), m.Side)
		require.Greater(t, row*m.Side+col, last)
		last = row*m.Side + col
		if row == col {
			diagonal++
		}
	}
	require.Equal(t, m.Side, diagonal)
}

// The mask of a repair that the model's numbers decide has the stretches that it has
// encoded again: of every segment but the first the fraction that was asked for.
func TestTraceOfRepairsShowsWhatWasRepaired(t *testing.T) {
	s := serve(t, Options{})
	got := tell(t, s.stream(tracePath, traceBody(`{"strategy":"cacheblend","repair":{"fraction":0.5}}`)))
	length, again := make(map[string]int), make(map[string]int)
	for _, n := range got.plan.Nodes {
		length[n.Segment] = n.Tokens
	}
	stretches := 0
	for _, n := range got.mask.Nodes {
		if strings.HasPrefix(n.ID, "kv1.") {
			stretches++
			again[n.Segment] += n.Tokens
		}
	}
	require.Greater(t, stretches, 2)
	for _, id := range []string{"b", "c"} {
		require.InDelta(t, float64(length[id])/2, again[id], 0.5, id)
	}
}

// Of a plan with more edges than explanations may have, the query and the answer are
// explained, which always are few.
func TestTraceOfLargePlans(t *testing.T) {
	s := serve(t, Options{Limits: Limits{Explained: 100}})
	got := tell(t, s.stream(tracePath, traceBody(`{"strategy":"graphkv"}`)))
	require.Equal(t, []string{"plan", "prepared", "text", "done", "read", "mask"}, got.order)
	require.Len(t, got.read.Readers, 2)
}

// What is wrong with a request has a status of its own; what goes wrong later is an event,
// and nothing after it.
func TestTraceRefuses(t *testing.T) {
	s := serve(t, Options{Limits: Limits{Documents: 2}})
	s.refuse(400, "invalid_value", "POST", tracePath, `{"messages":[]}`)
	s.refuse(413, "too_many_documents", "POST", tracePath, traceBody(`{}`))
	s.ok("PUT", "/v1/documents/a", `{"text":"secret"}`, nil, "X-Namespace", "one")
	known := chatBody(`,"max_tokens":2,"graphkv":{"strategy":"block"},"documents":["a"]`)
	tell(t, s.stream(tracePath, known, "X-Namespace", "one"))
	_, e := s.refuse(404, "document_not_found", "POST", tracePath, known, "X-Namespace", "two")
	require.NotContains(t, e.Error.Message, "secret")

	s = serve(t, Options{Limits: Limits{RequestTime: 1}})
	events := s.stream(tracePath, chatBody(``))
	require.Contains(t, events[len(events)-1], `"code":"request_timeout"`)
	require.NotContains(t, events, "[DONE]")
}

// A client may leave at any event; nothing of its request is left then.
func TestTraceIsCancelled(t *testing.T) {
	s := serve(t, Options{})
	for _, last := range []string{"plan", "prepared", "text", "done", "read"} {
		ctx, cancel := context.WithCancel(t.Context())
		resp, err := s.http.Client().Do(s.request(ctx, "POST", tracePath, traceBody(`{"strategy":"cacheblend"}`), "X-Namespace", last))
		require.NoError(t, err)
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() && !strings.Contains(lines.Text(), `"event":"`+last+`"`) {
		}
		require.Contains(t, lines.Text(), last)
		cancel()
		resp.Body.Close()
		s.waitLoad(0, 0)
		m := s.engine.Stats().Cache
		require.Zero(t, m.PinnedBytes, last)
		require.Zero(t, m.Flights, last)
	}
	tell(t, s.stream(tracePath, traceBody(`{"strategy":"cacheblend"}`), "X-Namespace", "plan"))
}

// A trace in flight is told to its end when the server drains.
func TestTraceIsDrained(t *testing.T) {
	s := serve(t, Options{})
	resp, err := s.http.Client().Do(s.request(t.Context(), "POST", tracePath, traceBody(`{"strategy":"graphkv"}`), "X-Namespace", "held"))
	require.NoError(t, err)
	defer resp.Body.Close()
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(t.Context()) }()
	require.Eventually(t, s.gate.closed, waitLong, waitShort)
	s.refuse(503, "server_draining", "POST", tracePath, traceBody(`{}`))
	close(s.held)
	events, err := readEvents(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "mask", tell(t, events).order[5])
	require.NoError(t, <-drained)
}

func TestListOfStrategies(t *testing.T) {
	s := serve(t, Options{})
	var list struct {
		Object string
		Data   []listedStrategy
	}
	s.ok("GET", "/v1/graphkv/strategies", "", &list)
	var ids []graphkv.Strategy
	for _, x := range list.Data {
		require.NotEmpty(t, x.About)
		ids = append(ids, x.ID)
	}
	require.Equal(t, graphkv.Strategies(), ids)
	s.refuse(405, "method_not_allowed", "POST", "/v1/graphkv/strategies", `{}`)
}
