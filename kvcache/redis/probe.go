// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	goredis "github.com/redis/go-redis/v9"
)

// errReplica: the server is one that nothing can be written to.
var errReplica = errors.New("this is a replica; Sentinel or a Cluster would name its master")

// Probe asks whether the store can be used: the servers answer, let the client in, have loaded their data and are masters, in a Cluster all of
// them. It refreshes Bytes and Budget of [Store.Metrics] as well. A server that forbids INFO is taken to be a master.
func (s *Store) Probe(ctx context.Context) error {
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := s.probe(ctx); err != nil {
		return fmt.Errorf("kvcache/redis: probe of %s: %w", s.where, err)
	}
	return nil
}

func (s *Store) probe(ctx context.Context) error {
	// EXISTS takes the way of Get, which PING would not: it is refused while a server loads, and when a Cluster does not cover its slots.
	if err := s.exchange(ctx, func(p goredis.Pipeliner) { p.Exists(ctx, s.o.Prefix+"probe") }); err != nil {
		return err
	}
	var used, limit atomic.Int64
	ask := func(ctx context.Context, c goredis.Cmdable) error {
		text, err := c.Info(ctx).Result()
		switch {
		case err != nil && strings.HasPrefix(err.Error(), "NOPERM"):
			return nil
		case err != nil:
			return err
		}
		info := parseInfo(text)
		if role := info["role"]; role != "master" {
			return fmt.Errorf("%w (role %s)", errReplica, role)
		}
		for name, sum := range map[string]*atomic.Int64{"used_memory": &used, "maxmemory": &limit} {
			n, err := strconv.ParseInt(info[name], 10, 64)
			if err != nil {
				return fmt.Errorf("%s of INFO: %w", name, err)
			}
			sum.Add(n)
		}
		return nil
	}
	var err error
	if c, ok := s.client.(*goredis.ClusterClient); ok {
		err = c.ForEachMaster(ctx, func(ctx context.Context, c *goredis.Client) error { return ask(ctx, c) })
	} else {
		err = ask(ctx, s.client)
	}
	if err != nil {
		return err
	}
	s.n.used.Store(used.Load())
	s.n.limit.Store(limit.Load())
	return nil
}

// parseInfo reads the lines name:value of INFO.
func parseInfo(text string) map[string]string {
	info := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info
}

// refused reports whether a probe's error is an answer that will be the same the next time, not an outage.
func refused(err error) bool {
	var untrusted *tls.CertificateVerificationError
	if errors.Is(err, errReplica) || errors.As(err, &untrusted) {
		return true
	}
	var answer goredis.Error
	if !errors.As(err, &answer) {
		return false
	}
	for _, passing := range [...]string{"LOADING ", "CLUSTERDOWN ", "MASTERDOWN ", "TRYAGAIN ", "ERR max number of clients"} {
		if strings.HasPrefix(answer.Error(), passing) {
			return false
		}
	}
	return true
}
