// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package access

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/graphkv/graphkv/server"
)

// Rate is how many requests a namespace may send a second in the long run, at least one an hour. 0 bounds nothing.
type Rate float64

// burst is how many seconds' worth of requests may come at once.
const burst = 2 * time.Second

// rates knows when every namespace may send its next request.
type rates struct {
	interval time.Duration // between requests
	now      func() time.Time
	mu       sync.Mutex
	// due is when the requests of a namespace so far would have come at exactly the permitted rate: the generic cell rate algorithm, a
	// leaky bucket that nothing has to empty. Namespaces come from the keys, so there is a bounded number of them.
	due map[string]time.Time
}

// Limit answers requests that come faster with 429, and says in Retry-After when to come again. refused, if it is not nil, is told.
func (r Rate) Limit(next http.Handler, refused func()) http.Handler {
	return r.limit(next, refused, time.Now)
}

func (r Rate) limit(next http.Handler, refused func(), now func() time.Time) http.Handler {
	if r <= 0 {
		return next
	}
	all := &rates{interval: time.Duration(min(float64(time.Second)/float64(r), float64(time.Hour))), now: now, due: make(map[string]time.Time)}
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method == http.MethodPost || q.Method == http.MethodPut {
			if wait := all.take(server.Namespace(q.Context())); wait > 0 {
				if refused != nil {
					refused()
				}
				server.Refuse(w, http.StatusTooManyRequests, "rate_limit_exceeded", fmt.Sprintf("you may send %g requests a second", float64(r)), wait)
				return
			}
		}
		next.ServeHTTP(w, q)
	})
}

// take counts a request in and returns 0, or returns after how long it may come again.
func (r *rates) take(namespace string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, due := r.now(), r.due[namespace]
	if due.Before(now) {
		due = now
	}
	// One request may come at once whatever the rate.
	if ahead := due.Sub(now) + r.interval - max(burst, r.interval); ahead > 0 {
		return ahead
	}
	r.due[namespace] = due.Add(r.interval)
	return 0
}
