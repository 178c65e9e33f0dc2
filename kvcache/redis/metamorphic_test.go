// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package redis

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/disk"
	"github.com/graphkv/graphkv/kvcache/kvtest"
	"github.com/graphkv/graphkv/kvcache/redis/redistest"
)

// Memory over a real folder that is too small for everything, over a real server: entries are damaged, the server is killed and started again with nothing
// in it, and what either does fails, hangs or takes its time.
func TestMetamorphic(t *testing.T) {
	logging.Disable() // the client would say every time that nobody listens
	t.Cleanup(logging.Enable)
	r := &realTiers{T: t, dir: t.TempDir(), server: redistest.Start(t)}
	r.client = r.server.Client()
	kvtest.RunMetamorphic(t, kvtest.Rig{Open: r.open, Crash: r.crash, Corrupt: r.corrupt, Kill: r.kill, Revive: r.revive})
	require.Positive(t, r.evicted)
	require.Positive(t, r.damagedFiles)
	require.Positive(t, r.damagedValues)
}

type realTiers struct {
	*testing.T
	dir    string
	server *redistest.Server
	client *goredis.Client
	dead   bool // the server
	folder *disk.Store
	stores []*kvtest.Faulty
	hung   []chan struct{}

	evicted, damagedFiles, damagedValues int
}

func (r *realTiers) open(memory int64) *kvcache.Tiered {
	if r.folder != nil {
		r.evicted += int(r.folder.Metrics().Evictions)
	}
	var err error
	r.folder, err = disk.Open(r.dir, disk.Options{Budget: 256 << 10})
	require.NoError(r, err)
	const timeout = 100 * time.Millisecond
	remote, err := Open(r.Context(), r.server.URL(), Options{DialTimeout: timeout, ReadTimeout: timeout, WriteTimeout: timeout})
	require.NoError(r, err)
	r.stores = []*kvtest.Faulty{kvtest.NewFaulty(r.folder), kvtest.NewFaulty(remote)}
	return kvcache.NewTiered(kvcache.TieredOptions{Memory: memory, Tiers: []kvcache.Tier{
		{Store: r.stores[0], ProbeEvery: time.Millisecond, QueueLen: 8},
		{Store: r.stores[1], ProbeEvery: time.Millisecond, QueueBytes: 256 << 10, Timeout: timeout},
	}})
}

// crash closes what is below the tiers: what they do after that fails. In this process nothing may hang for ever.
func (r *realTiers) crash() {
	r.heal()
	for _, s := range r.stores {
		require.NoError(r, s.Store.Close())
	}
}

func (r *realTiers) corrupt(random *rand.Rand) {
	if random.IntN(2) == 0 {
		r.corruptFile(random)
	} else if !r.dead {
		r.corruptValue(random)
	}
}

// corruptFile replaces a file by one with a flipped bit; who has the old one mapped keeps that.
func (r *realTiers) corruptFile(random *rand.Rand) {
	files, err := filepath.Glob(filepath.Join(r.dir, "v1", "*", "*.kv"))
	require.NoError(r, err)
	if len(files) == 0 {
		return
	}
	path := files[random.IntN(len(files))]
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) { // evicted since
		return
	}
	require.NoError(r, err)
	b[random.IntN(len(b))] ^= 1 << random.IntN(8)
	damaged := filepath.Join(r.dir, "damaged")
	require.NoError(r, os.WriteFile(damaged, b, 0o600))
	require.NoError(r, os.Rename(damaged, path))
	r.damagedFiles++
}

func (r *realTiers) corruptValue(random *rand.Rand) {
	name, err := r.client.RandomKey(r.Context()).Result()
	if errors.Is(err, goredis.Nil) {
		return
	}
	require.NoError(r, err)
	value, err := r.client.Get(r.Context(), name).Bytes()
	if errors.Is(err, goredis.Nil) || len(value) == 0 {
		return
	}
	require.NoError(r, err)
	value[random.IntN(len(value))] ^= 1 << random.IntN(8)
	err = r.client.SetArgs(r.Context(), name, value, goredis.SetArgs{Mode: "XX", KeepTTL: true}).Err()
	if !errors.Is(err, goredis.Nil) { // it is gone
		require.NoError(r, err)
		r.damagedValues++
	}
}

func (r *realTiers) kill(random *rand.Rand) {
	broken := errors.New("broken")
	op := [...]string{"get", "has", "put", "delete"}[random.IntN(4)]
	switch random.IntN(5) {
	case 0:
		r.server.Kill()
		r.dead = true
	case 1:
		r.stores[0].Inject(kvtest.Fail(broken, op))
	case 2:
		r.stores[1].Inject(kvtest.Fail(broken, op))
	case 3:
		c := make(chan struct{})
		r.hung = append(r.hung, c)
		r.stores[1].Inject(kvtest.Hang(c, op))
	case 4:
		r.stores[1].Inject(kvtest.Delay(time.Duration(random.IntN(100))*time.Millisecond, op))
	}
}

func (r *realTiers) revive() {
	r.heal()
	if r.dead {
		r.server.Restart()
		r.dead = false
	}
}

// heal ends what was injected.
func (r *realTiers) heal() {
	for _, s := range r.stores {
		s.Inject(nil)
	}
	for _, c := range r.hung {
		close(c)
	}
	r.hung = nil
}
