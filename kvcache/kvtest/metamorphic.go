// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/graphkv/graphkv/kvcache"
)

// Rig is what the metamorphic test drives besides the tiered store: what is below it.
type Rig struct {
	// Open opens a store with so much memory over what the tiers have kept. The one opened before is closed, or has crashed.
	Open func(memory int64) *kvcache.Tiered
	// Crash cuts the store that was opened last off from what its tiers keep, as if its process had died: what it still writes is lost.
	Crash func()
	// Corrupt damages something that is kept.
	Corrupt func(r *rand.Rand)
	// Kill makes a tier fail, hang or slow down, and Revive heals all of them.
	Kill   func(r *rand.Rand)
	Revive func()
}

// OpsVariable is the environment variable that says how many operations RunMetamorphic does; without it, they are few.
const OpsVariable = "GRAPHKV_METAMORPHIC_OPS"

// RunMetamorphic does random operations on a tiered store and on a model, which knows for every key what a store may return: a KV that was put since
// the key was last deleted. Whatever fails, crashes, is damaged or evicted, a hit is one of these to the last bit, budgets hold, and nothing is held that
// was released.
func RunMetamorphic(t *testing.T, rig Rig) {
	ops := 4000
	if testing.Short() {
		ops = 1500
	}
	if v := os.Getenv(OpsVariable); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatalf("%s: %v", OpsVariable, err)
		}
		ops = n
	}
	m := &metamorph{T: t, rig: rig, r: rand.New(rand.NewPCG(5, 6)), may: make(map[uint64][]uint64), done: make(map[string]int)}
	m.open()
	for op := range ops {
		m.step()
		if t.Failed() {
			t.Fatalf("after %d operations", op+1)
		}
	}
	rig.Revive()
	m.reopen()
	t.Logf("%d operations: %v", ops, m.done)
	for _, what := range []string{"hit", "miss", "encoded", "fetched", "deleted", "crash", "reopen"} {
		if m.done[what] == 0 {
			t.Errorf("it never came to: %s", what)
		}
	}
	if err := m.store.Close(); err != nil {
		t.Error(err)
	}
}

const metamorphKeys = 40

// metamorph is the test at work. A KV is named by its seed; that of version v of key n is n + v × metamorphKeys.
type metamorph struct {
	*testing.T
	rig     Rig
	r       *rand.Rand
	store   *kvcache.Tiered
	version uint64
	may     map[uint64][]uint64 // for every key, the seeds that a hit may show
	held    []heldKV
	done    map[string]int
}

type heldKV struct {
	h    *kvcache.Handle
	seed uint64
}

func (m *metamorph) open() {
	m.store = m.rig.Open([]int64{0, 100 << 10, 1 << 20, 16 << 20}[m.r.IntN(4)])
}

func (m *metamorph) step() {
	n := m.r.Uint64N(metamorphKeys)
	switch p := m.r.IntN(1000); {
	case p < 300:
		m.get(n)
	case p < 320:
		m.has(n)
	case p < 450:
		m.put(n)
	case p < 650:
		m.claim(n)
	case p < 900:
		m.release()
	case p < 940:
		m.delete(n)
	case p < 960:
		m.flush()
	case p < 985:
		m.rig.Corrupt(m.r)
	case p < 990:
		m.rig.Kill(m.r)
		m.done["kill"]++
	case p < 995:
		m.rig.Revive()
		time.Sleep(time.Duration(m.r.IntN(5)) * time.Millisecond) // for probes
	case p < 997:
		m.crash()
	default:
		m.reopen()
	}
	if mem := memoryTier(m.store.Metrics()); mem.Bytes > mem.Budget {
		m.Errorf("%d bytes with a budget of %d", mem.Bytes, mem.Budget)
	}
}

// next returns the seed of a new KV of key n, which a store may return from now on.
func (m *metamorph) next(n uint64) uint64 {
	m.version++
	seed := n + m.version*metamorphKeys
	m.may[n] = append(m.may[n], seed)
	return seed
}

// hit checks a handle to a KV of key n and keeps it for a while.
func (m *metamorph) hit(n uint64, h *kvcache.Handle, how string) {
	m.done[how]++
	seed := uint64(h.KV().Info().Cost * 64)
	if !slices.Contains(m.may[n], seed) {
		m.Errorf("key %d: a hit of KV %d, which is none of %v", n, seed, m.may[n])
		return
	}
	CheckSame(m, h.KV(), form(seed))
	m.held = append(m.held, heldKV{h, seed})
	for len(m.held) > 8 {
		m.release()
	}
}

func (m *metamorph) release() {
	if len(m.held) == 0 {
		return
	}
	i := m.r.IntN(len(m.held))
	x := m.held[i]
	m.held = slices.Delete(m.held, i, i+1)
	CheckSame(m, x.h.KV(), form(x.seed))
	x.h.Release()
}

func (m *metamorph) get(n uint64) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if m.r.IntN(10) == 0 {
		time.AfterFunc(time.Duration(m.r.IntN(200))*time.Microsecond, cancel)
	}
	h, err := m.store.Get(ctx, keyOf(n))
	switch {
	case err == nil:
		m.hit(n, h, "hit")
	case errors.Is(err, kvcache.ErrNotFound):
		m.done["miss"]++
	case !errors.Is(err, context.Canceled):
		m.Errorf("Get: %v", err)
	}
}

func (m *metamorph) has(n uint64) {
	has, err := m.store.Has(context.Background(), keyOf(n))
	if err != nil {
		m.Errorf("Has: %v", err)
	}
	if has && len(m.may[n]) == 0 {
		m.Errorf("key %d is there, and never was put since it was deleted", n)
	}
}

func (m *metamorph) put(n uint64) {
	if err := m.store.Put(context.Background(), keyOf(n), form(m.next(n))); err != nil {
		m.Errorf("Put: %v", err)
	}
}

// claim does what a request does.
func (m *metamorph) claim(n uint64) {
	h, f, owner := m.store.Claim(keyOf(n))
	if h != nil {
		m.hit(n, h, "hit")
		return
	}
	if !owner {
		m.Errorf("key %d is in flight, but nobody is at work", n)
		return
	}
	var instead kvcache.Estimate
	if m.r.IntN(2) == 0 {
		instead = kvcache.Estimate{Bytes: 10 << 10, Seconds: m.r.ExpFloat64() * 1e-4}
	}
	h, err := m.store.Fetch(context.Background(), f, instead)
	switch {
	case err == nil:
		m.hit(n, h, "fetched")
	case !errors.Is(err, kvcache.ErrNotFound):
		m.Errorf("Fetch: %v", err)
	case m.r.IntN(5) == 0:
		f.Fail(nil)
	default:
		m.hit(n, f.Complete(form(m.next(n))), "encoded")
	}
}

func (m *metamorph) delete(n uint64) {
	if err := m.store.Delete(context.Background(), keyOf(n)); err != nil {
		m.done["not deleted"]++ // a tier is out of use
		return
	}
	delete(m.may, n)
	m.done["deleted"]++
}

// flush looks at what is held when nothing is being written.
func (m *metamorph) flush() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if m.store.Flush(ctx) == nil {
		CheckMetrics(m, m.store.Metrics())
	}
}

// settle releases everything.
func (m *metamorph) settle() {
	for len(m.held) > 0 {
		m.release()
	}
}

func (m *metamorph) crash() {
	m.rig.Crash()
	if m.r.IntN(2) == 0 {
		m.settle() // otherwise handles outlive the crash
	}
	m.open()
	m.done["crash"]++
}

// reopen closes the store, which must hold nothing then, and opens it again.
func (m *metamorph) reopen() {
	m.rig.Revive()
	m.settle()
	if err := m.store.Flush(context.Background()); err != nil {
		m.Errorf("Flush: %v", err)
	}
	if err := m.store.Close(); err != nil {
		m.Errorf("Close: %v", err)
	}
	held := ""
	for range 1000 { // a write that hung may be about to let go
		s := memoryTier(m.store.Metrics())
		if held = fmt.Sprint(s.Handles, s.PinnedBytes, s.OrphanedBytes, s.Bytes, s.Flights); held == "0 0 0 0 0" {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if held != "0 0 0 0 0" {
		m.Errorf("closed, and there are handles, bytes pinned, orphaned, kept, flights: %s", held)
	}
	m.open()
	m.done["reopen"]++
}
