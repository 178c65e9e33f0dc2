// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
)

// background is a server whose first batch in the background is not over before go.
type background struct {
	*service
	first, end chan struct{}
	mu         sync.Mutex
	order      []string // namespaces of batches
}

func inBackground(t *testing.T, o Options) *background {
	b := &background{first: make(chan struct{}), end: make(chan struct{})}
	o.Observer.Prepared = func(namespace string, _ graphkv.Usage, _ time.Duration, err error) {
		if err != nil {
			t.Errorf("preparing: %v", err)
		}
		b.mu.Lock()
		n := len(b.order)
		b.order = append(b.order, namespace)
		b.mu.Unlock()
		if n == 0 {
			close(b.first)
			<-b.end
		}
	}
	b.service = serve(t, o)
	return b
}

func (b *background) put(namespace, id, text string) {
	b.t.Helper()
	b.ok("PUT", "/v1/documents/"+id+"?prepare=true", fmt.Sprintf(`{"text":%q}`, text), nil, "X-Namespace", namespace)
}

// waitPrepared waits until a document is.
func (b *background) waitPrepared(namespace, id string) {
	b.t.Helper()
	require.Eventually(b.t, func() bool {
		var d shown
		b.ok("GET", "/v1/documents/"+id, "", &d, "X-Namespace", namespace)
		return d.State == statePrepared
	}, waitLong, waitShort)
}

// waiting returns how many documents of a namespace are in line.
func (b *background) waiting(namespace string) int {
	b.preparer.mu.Lock()
	defer b.preparer.mu.Unlock()
	if l := b.preparer.lines[namespace]; l != nil {
		if len(l.ids) != len(l.has) {
			b.t.Errorf("%d in line, %d known to be", len(l.ids), len(l.has))
		}
		return len(l.ids)
	}
	return 0
}

// One namespace's many documents keep those of others waiting for one batch.
func TestPreparingTakesTurns(t *testing.T) {
	b := inBackground(t, Options{})
	b.put("many", "0", "x")
	<-b.first
	text := strings.Repeat("x", prepareTokens*2/3)
	for i := range 4 {
		b.put("many", fmt.Sprint(i+1), text)
	}
	b.put("few", "0", text)
	close(b.end)
	b.waitPrepared("many", "4")
	b.waitPrepared("few", "0")
	require.Equal(t, []string{"many", "many", "few", "many", "many", "many"}, b.order)
}

// However often documents are replaced and deleted, no more are in line than there are.
func TestLineOfPreparingIsBounded(t *testing.T) {
	b := inBackground(t, Options{Limits: Limits{StoreDocuments: 5}})
	b.put("a", "first", "x")
	<-b.first
	for range 20 {
		b.put("a", "same", "y")
	}
	require.Equal(t, 1, b.waiting("a"))
	for i := range 50 {
		b.put("a", fmt.Sprint(i), "z")
		require.LessOrEqual(t, b.waiting("a"), 5)
		b.ok("DELETE", fmt.Sprint("/v1/documents/", i), "", nil, "X-Namespace", "a")
	}
	b.put("a", "last", "w")
	b.ok("PUT", "/v1/documents/same", `{"text":"not to be prepared"}`, nil, "X-Namespace", "a")
	close(b.end)
	b.waitPrepared("a", "last")
	require.Zero(t, b.waiting("a"))
	var d shown
	b.ok("GET", "/v1/documents/same", "", &d, "X-Namespace", "a")
	require.Equal(t, stateRegistered, d.State)
	require.Len(t, b.order, 2)
}

// A batch has no more tokens than the engine takes.
func TestPreparingKeepsTheLimitOfTokens(t *testing.T) {
	b := inBackground(t, Options{Engine: engine(t, graphkv.WithPromptTokens(100)), Limits: Limits{PromptTokens: 100}})
	b.put("", "0", "x")
	<-b.first
	for i := range 10 {
		b.put("", fmt.Sprint(i), strings.Repeat(fmt.Sprint(i), 30))
	}
	close(b.end)
	for i := range 10 {
		b.waitPrepared("", fmt.Sprint(i))
	}
}
