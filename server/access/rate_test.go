// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package access

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/server"
)

// In no span of time do more requests of a namespace pass than its rate and one burst allow; who waits as long as it is told to passes; and what
// others send makes no difference.
func TestRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Float64Range(0.01, 50).Draw(t, "rate")
		now := time.Unix(1_000_000, 0)
		passed := map[string][]time.Time{}
		h := Rate(rate).limit(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			n := server.Namespace(r.Context())
			passed[n] = append(passed[n], now)
		}), nil, func() time.Time { return now })
		send := func(namespace string) *httptest.ResponseRecorder {
			w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil)
			h.ServeHTTP(w, r.WithContext(server.WithNamespace(r.Context(), namespace)))
			return w
		}
		for range rapid.IntRange(1, 200).Draw(t, "requests") {
			now = now.Add(time.Duration(rapid.Float64Range(0, 2/rate).Draw(t, "seconds") * float64(time.Second)))
			namespace := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "namespace")
			w := send(namespace)
			if w.Code == http.StatusOK {
				continue
			}
			if w.Code != http.StatusTooManyRequests {
				t.Fatalf("status %d", w.Code)
			}
			retry, err := strconv.Atoi(w.Header().Get("Retry-After"))
			if err != nil || retry < 1 {
				t.Fatalf("Retry-After %q", w.Header().Get("Retry-After"))
			}
			if rapid.Bool().Draw(t, "waits") {
				now = now.Add(time.Duration(retry) * time.Second)
				if send(namespace).Code != http.StatusOK {
					t.Fatalf("refused after a wait of %d s", retry)
				}
			}
		}
		for _, times := range passed {
			for i := range times {
				for j := i; j < len(times); j++ {
					most := max(2*rate, 1) + rate*times[j].Sub(times[i]).Seconds() + 1e-6*float64(j-i+1)
					if float64(j-i+1) > most+1 {
						t.Fatalf("%d requests in %v at %g a second", j-i+1, times[j].Sub(times[i]), rate)
					}
				}
			}
		}
	})
}

func TestRateLeavesReadersAlone(t *testing.T) {
	now := time.Now()
	refused := 0
	h := Rate(0.5).limit(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), func() { refused++ }, func() time.Time { return now })
	status := func(method string) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, "/", nil))
		return w.Code
	}
	require.Equal(t, http.StatusOK, status(http.MethodPost))
	require.Equal(t, http.StatusTooManyRequests, status(http.MethodPut))
	for range 10 {
		require.Equal(t, http.StatusOK, status(http.MethodGet))
	}
	require.Equal(t, 1, refused)
	require.Equal(t, http.StatusOK, func() int {
		w := httptest.NewRecorder()
		Rate(0).Limit(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), nil).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
		return w.Code
	}())
}
