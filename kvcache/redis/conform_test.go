// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package redis

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/kvtest"
	"github.com/graphkv/graphkv/kvcache/redis/redistest"
)

// stores counts stores that must not see each other's values.
var stores atomic.Int64

// conform runs the suites of all stores on the servers of a URL.
func conform(t *testing.T, url string) {
	prefix := func() string { return fmt.Sprintf("%d:", stores.Add(1)) }
	t.Run("Store", func(t *testing.T) {
		kvtest.RunStore(t, func(tb testing.TB) kvcache.Store { return open(tb, url, Options{Prefix: prefix()}) })
	})
	t.Run("Durable", func(t *testing.T) {
		kvtest.RunDurable(t, func(tb testing.TB) func() kvcache.Store {
			p := prefix()
			return func() kvcache.Store { return open(tb, url, Options{Prefix: p}) }
		})
	})
}

func TestConformance(t *testing.T) {
	conform(t, redistest.Start(t).URL())
}

func TestClusterConformance(t *testing.T) {
	t.Parallel() // mostly waits
	nodes := redistest.Cluster(t, 3)
	for _, url := range []string{
		nodes[0].URL() + "?addr=" + nodes[1].Addr + "&addr=" + nodes[2].Addr,
		nodes[2].URL() + "?cluster=true",
	} {
		conform(t, url)
		if testing.Short() {
			break
		}
	}

	// Nodes are spread over the Cluster, each of them on one server.
	s := open(t, nodes[0].URL()+"?cluster=true", Options{Prefix: "spread:"})
	where := map[string]map[int]bool{}
	for i := range 60 {
		require.NoError(t, s.Put(t.Context(), kvcache.Key{byte(i)}, randomKV(3, 1, byte(i))))
	}
	for i, n := range nodes {
		for _, name := range names(t, n.Client()) {
			if node, _, _ := strings.Cut(name, "}"); strings.HasPrefix(node, "spread:") {
				if where[node] == nil {
					where[node] = map[int]bool{}
				}
				where[node][i] = true
			}
		}
	}
	require.Len(t, where, 60)
	used := map[int]bool{}
	for node, servers := range where {
		require.Len(t, servers, 1, node)
		for i := range servers {
			used[i] = true
		}
	}
	require.Len(t, used, 3)

	// A slot moves to another master, which the store hears when it asks the old one.
	k := kvcache.Key{200}
	slot := nodes[0].Client().ClusterKeySlot(t.Context(), s.node(k)).Val()
	to := nodes[0].Client()
	if slot < 16384/3 {
		to = nodes[2].Client()
	}
	id := to.ClusterMyID(t.Context()).Val()
	for _, n := range nodes {
		require.NoError(t, n.Client().Do(t.Context(), "cluster", "setslot", slot, "node", id).Err())
	}
	require.NoError(t, s.Put(t.Context(), k, randomKV(3, 70, 200)))
	same(t, s, k, randomKV(3, 70, 200))
	require.Contains(t, names(t, to), s.node(k))
	require.NoError(t, s.Delete(t.Context(), k))
	require.Zero(t, s.Metrics().Failures)

	// One of the masters dies.
	require.NoError(t, s.Probe(t.Context()))
	nodes[1].Kill()
	require.Error(t, s.Probe(t.Context()))
	for i := range 10 {
		within(t, 3*time.Second, func() {
			h, err := s.Get(t.Context(), kvcache.Key{byte(i)})
			if err == nil {
				kvtest.CheckSame(t, h.KV(), randomKV(3, 1, byte(i)))
				h.Release()
			}
		})
	}
}

// A single server among several must not be taken for a Cluster, nor a replica for a master.
func TestReplica(t *testing.T) {
	master := redistest.Start(t)
	host, port, _ := strings.Cut(master.Addr, ":")
	replica := redistest.Start(t, "--replicaof", host+" "+port)
	open(t, master.URL(), Options{})
	_, err := Open(t.Context(), replica.URL(), Options{})
	require.ErrorIs(t, err, errReplica)
	_, err = Open(t.Context(), master.URL()+"?cluster=true", Options{})
	require.ErrorContains(t, err, "cluster support disabled")
}

// Sentinel names the master, and the next one after its death.
func TestSentinel(t *testing.T) {
	t.Parallel() // mostly waits
	master := redistest.Start(t)
	host, port, _ := strings.Cut(master.Addr, ":")
	replica := redistest.Start(t, "--replicaof", host+" "+port)
	up := func() bool {
		return strings.Contains(replica.Client().Info(t.Context(), "replication").Val(), "master_link_status:up")
	}
	require.Eventually(t, up, 20*time.Second, 20*time.Millisecond)
	sentinel := redistest.Sentinel(t, master)
	s := open(t, sentinel.URL()+"?master_name=mymaster", Options{})
	require.NoError(t, s.Probe(t.Context()))
	kv := randomKV(5, 70, 1)
	require.NoError(t, s.Put(t.Context(), kvcache.Key{1}, kv))
	same(t, s, kvcache.Key{1}, kv)
	if testing.Short() {
		return // a failover takes seconds
	}
	synced := func() bool { return len(names(t, replica.Client())) == 11 }
	require.Eventually(t, synced, 20*time.Second, 20*time.Millisecond)
	known := func() bool {
		return strings.Contains(fmt.Sprint(sentinel.Client().Do(t.Context(), "sentinel", "replicas", "mymaster").Val()), replica.Addr)
	}
	require.Eventually(t, known, 20*time.Second, 100*time.Millisecond)
	master.Kill()
	require.Eventually(t, func() bool { return s.Probe(t.Context()) == nil }, 30*time.Second, 50*time.Millisecond)
	same(t, s, kvcache.Key{1}, kv)
	require.NoError(t, s.Put(t.Context(), kvcache.Key{2}, kv))
}
