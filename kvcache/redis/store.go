// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphkv/graphkv/kvcache"
)

const (
	tier = "redis"
	// batchBytes is how much one exchange carries. It bounds what a time-out of an exchange has to suffice for.
	batchBytes = 2 << 20
	// batchNames is how many values one exchange renews or removes.
	batchNames = 1024
)

// ErrFull is what Put returns, wrapped, when the server has no memory left and may not evict.
var ErrFull = errors.New("the server is full")

// Store keeps KVs on Redis. It implements [kvcache.Store]; see the package comment for what it promises.
type Store struct {
	client goredis.UniversalClient
	owned  bool // Close closes the client
	where  string
	o      Options
	n      counters

	mu     sync.Mutex
	closed bool
	busy   sync.WaitGroup // operations and streams under way
}

var _ kvcache.Streamer = (*Store)(nil)

// Open returns a store on the servers of a URL; see the package comment for its forms. It asks them once: what answers but cannot be used, a
// wrong password or a replica say, is an error. Servers that do not answer are none. They may come, which [Store.Probe] tells.
func Open(ctx context.Context, url string, o Options) (*Store, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	client, where, err := connect(url, &o)
	if err != nil {
		return nil, err
	}
	s := &Store{client: client, owned: true, where: where, o: o}
	if err := s.Probe(ctx); err != nil && (refused(err) || ctx.Err() != nil) {
		client.Close()
		return nil, err
	}
	return s, nil
}

// New returns a store that uses a client which the caller made and will close, after the store. Its time-outs, its retries and its buffers
// are the client's own; for [Options.Timeout] to be exact it needs ContextTimeoutEnabled.
func New(client goredis.UniversalClient, o Options) (*Store, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	s := &Store{client: client, o: o, where: "a server"}
	switch c := client.(type) {
	case *goredis.Client:
		s.where = c.Options().Addr
	case *goredis.ClusterClient:
		s.where = strings.Join(c.Options().Addrs, ",")
	}
	return s, nil
}

// Get returns the KV of k, all layers fetched and checked.
func (s *Store) Get(ctx context.Context, k kvcache.Key) (*kvcache.Handle, error) {
	t, err := s.start(ctx, k)
	if err != nil {
		return nil, err
	}
	for l := range t.kv.Shape().Layers {
		if err := t.Wait(ctx, l); err != nil {
			t.Close()
			return nil, err
		}
	}
	return s.n.handle(t.kv), nil
}

// Has reports whether there is a header for k. A server that evicts may have dropped chunks of it, which only Get finds out.
func (s *Store) Has(ctx context.Context, k kvcache.Key) (bool, error) {
	op, end, err := s.begin(ctx)
	if err != nil {
		return false, err
	}
	defer end()
	began := time.Now()
	var exists *goredis.IntCmd
	if err := s.exchange(op, func(p goredis.Pipeliner) { exists = p.Exists(op, s.node(k)) }); err != nil {
		return false, s.failed(ctx, "has", k, began, err)
	}
	return exists.Val() > 0, nil
}

// Put stores kv under k. One that is larger than [Options.MaxKVBytes] is counted and not kept; what was there stays. When the answer to the
// last command is lost, Put returns an error, and kv may have been stored.
func (s *Store) Put(ctx context.Context, k kvcache.Key, kv *kvcache.KV) error {
	if kv == nil {
		panic(kvcache.ErrNilKV)
	}
	op, end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	began := time.Now()
	if kv.Bytes() > s.o.MaxKVBytes {
		s.n.puts.Add(1)
		s.n.rejected.Add(1)
		return nil
	}
	h := newHeader(k, kv, rand.Uint64())
	node := s.node(k)
	if err = s.writeChunks(op, node, h, kv.Data()); err == nil {
		err = s.writeHeader(op, node, h)
	}
	if err != nil {
		if answered(err) || errors.Is(err, context.Canceled) { // else it would be another time-out; what is there expires
			s.remove(context.WithoutCancel(op), node, h.encode(), h)
		}
		return s.failed(ctx, "put", k, began, err)
	}
	s.n.puts.Add(1)
	s.n.writeBytes.Add(uint64(kv.Bytes()))
	s.n.writeTime.Add(int64(time.Since(began)))
	return nil
}

func (s *Store) writeChunks(ctx context.Context, node string, h *header, data []byte) error {
	ttl := s.chunkTTL()
	total := h.shape.Layers * h.chunks()
	for from := 0; from < total; {
		to := h.batch(from, total)
		err := s.exchange(ctx, func(p goredis.Pipeliner) {
			for i := from; i < to; i++ {
				p.Set(ctx, h.name(node, i), h.part(data, i), ttl)
			}
		})
		if err != nil {
			return err
		}
		from = to
	}
	return nil
}

// writeHeader makes the chunks of h those of the node, and lets those that were have the time that readers may need.
func (s *Store) writeHeader(ctx context.Context, node string, h *header) error {
	var set *goredis.StatusCmd
	err := s.exchange(ctx, func(p goredis.Pipeliner) {
		set = p.SetArgs(ctx, node, h.encode(), goredis.SetArgs{TTL: s.o.TTL, Get: true})
	})
	if errors.Is(err, goredis.Nil) {
		return nil
	}
	if err != nil {
		return err
	}
	s.n.replaced.Add(1)
	// The same generation: the client has sent the command twice.
	if old, err := decode(h.key, []byte(set.Val())); err == nil && old.generation != h.generation {
		s.expire(ctx, old.names(node), s.o.Timeout) // or they expire later
	}
	return nil
}

// Delete forgets k.
func (s *Store) Delete(ctx context.Context, k kvcache.Key) error {
	op, end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	began := time.Now()
	node := s.node(k)
	var get *goredis.StringCmd
	err = s.exchange(op, func(p goredis.Pipeliner) { get = p.GetDel(op, node) })
	if errors.Is(err, goredis.Nil) {
		return nil
	}
	if err != nil {
		return s.failed(ctx, "delete", k, began, err)
	}
	s.n.deletes.Add(1)
	if h, err := decode(k, []byte(get.Val())); err == nil {
		s.unlink(op, h.names(node)) // or they expire
	}
	return nil
}

// Close waits for what is under way, at most [Options.Timeout].
func (s *Store) Close() error {
	s.mu.Lock()
	was := s.closed
	s.closed = true
	s.mu.Unlock()
	s.busy.Wait()
	if was || !s.owned {
		return nil
	}
	return s.client.Close()
}

// begin begins an operation: ctx is bounded, and Close waits for end.
func (s *Store) begin(ctx context.Context) (op context.Context, end func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, kvcache.ErrClosed
	}
	s.busy.Add(1)
	op, cancel := context.WithTimeout(ctx, s.o.Timeout)
	return op, func() { cancel(); s.busy.Done() }, nil
}

// node returns the name of the header of k.
func (s *Store) node(k kvcache.Key) string {
	return fmt.Sprintf("%s%d:{%v}", s.o.Prefix, version, k)
}

// chunkTTL is longer than a header's by the time that a Put or a renewal may take: chunks are there as long as their header.
func (s *Store) chunkTTL() time.Duration { return s.o.TTL + s.o.Timeout }

// exchange sends commands and reads their answers. The error is the first of a command. Whatever the client does, tries again or is sent
// elsewhere, it takes no longer than one dialling, writing and reading; it is done with all memory when it returns.
func (s *Store) exchange(ctx context.Context, commands func(goredis.Pipeliner)) error {
	if o := s.o; s.owned && min(o.DialTimeout, o.WriteTimeout, o.ReadTimeout) > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.DialTimeout+o.WriteTimeout+o.ReadTimeout)
		defer cancel()
	}
	p := s.client.Pipeline()
	commands(p)
	_, err := p.Exec(ctx)
	return err
}

// batch returns the end of the chunks from from on, before to, that one exchange carries.
func (h *header) batch(from, to int) int {
	return min(to, from+int(max(1, batchBytes/min(h.chunk, h.layer))))
}

// remove takes a node out of the way: the chunks of h unless that is nil, and the header unless it is no longer raw. Failing is no matter.
func (s *Store) remove(ctx context.Context, node string, raw []byte, h *header) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	var names []string
	var get *goredis.StringCmd
	if err := s.exchange(ctx, func(p goredis.Pipeliner) { get = p.Get(ctx, node) }); err == nil && bytes.Equal([]byte(get.Val()), raw) {
		names = append(names, node)
	}
	if h != nil {
		names = append(names, h.names(node)...)
	}
	s.unlink(ctx, names)
}

// unlink removes values, in that order.
func (s *Store) unlink(ctx context.Context, names []string) {
	s.each(ctx, names, func(p goredis.Pipeliner, name string) { p.Unlink(ctx, name) })
}

// expire sets how long values live.
func (s *Store) expire(ctx context.Context, names []string, ttl time.Duration) {
	s.each(ctx, names, func(p goredis.Pipeliner, name string) { p.PExpire(ctx, name, ttl) })
}

// each sends a command for every name, until one fails.
func (s *Store) each(ctx context.Context, names []string, command func(goredis.Pipeliner, string)) {
	for len(names) > 0 {
		now := names[:min(len(names), batchNames)]
		names = names[len(now):]
		err := s.exchange(ctx, func(p goredis.Pipeliner) {
			for _, name := range now {
				command(p, name)
			}
		})
		if err != nil {
			return
		}
	}
}

// failed counts and reports an operation that failed and returns its error. That the caller's ctx ended is nobody's failure.
func (s *Store) failed(ctx context.Context, op string, k kvcache.Key, began time.Time, err error) error {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		<-ctx.Done() // a connection's deadline, which is ctx's, may pass a moment before ctx ends
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if strings.HasPrefix(err.Error(), "OOM ") {
		err = fmt.Errorf("%w: %w", ErrFull, err)
	}
	err = fmt.Errorf("kvcache/redis: %s at %s: %w", op, s.where, err)
	s.n.failures.Add(1)
	if s.o.Events.Failed != nil {
		s.o.Events.Failed(kvcache.FailEvent{Tier: tier, Op: op, Key: k, Err: err, Took: time.Since(began)})
	}
	return err
}

// corrupt counts and reports a damaged node that has been removed.
func (s *Store) corrupt(k kvcache.Key, reason string) error {
	err := &kvcache.CorruptError{Key: k, Where: s.where, Reason: reason}
	s.n.corrupt.Add(1)
	if s.o.Events.Corrupt != nil {
		s.o.Events.Corrupt(kvcache.CorruptEvent{Tier: tier, Err: err})
	}
	return err
}

// answered reports whether err is a server's answer, so that the server is there.
func answered(err error) bool {
	var answer goredis.Error
	return errors.As(err, &answer)
}
