// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

// turns decides whose job is encoded next: the one of the namespace that has had the
// least so far, in tokens. A namespace that comes back has what it missed no more,
// and what it took before is forgotten when all others have had as much. This is
// start-time fair queueing (Goyal, Vin and Cheng, 1996), with tokens as the length of
// a packet: however many requests one namespace sends, another's waits for at most
// one job of each namespace.
type turns struct {
	had map[string]int64 // start of the namespace's next job; not there: now
	now int64            // start of the job that was taken last
}

func (t *turns) start(namespace string) int64 { return max(t.had[namespace], t.now) }

// next returns the place in waiting, in order of arrival and not empty, of the job
// whose turn it is.
func (t *turns) next(waiting []*job) int {
	best := 0
	for i, j := range waiting {
		if t.start(j.namespace) < t.start(waiting[best].namespace) {
			best = i
		}
	}
	return best
}

// charge counts a job that was taken.
func (t *turns) charge(j *job) {
	if t.had == nil {
		t.had = make(map[string]int64)
	}
	t.now = t.start(j.namespace)
	t.had[j.namespace] = t.now + int64(j.tokens)
	for name, start := range t.had {
		if start <= t.now {
			delete(t.had, name)
		}
	}
}
