// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// errReplica: the server is one that nothing can be written to.
var errReplica = errors.New("this is a replica; Sentinel or a Cluster would name its master")

// Probe asks whether the store can be used: the servers answer, let the client in, have loaded their data and are masters, in a Cluster all of
// them. A server that forbids INFO is taken to be a master.
func (s *Store) Probe(ctx context.Context) error {
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	// EXISTS takes the way of Get, which PING would not: it is refused while a server loads, and when a Cluster does not cover its slots.
	err = s.exchange(ctx, func(p goredis.Pipeliner) { p.Exists(ctx, s.o.Prefix+"probe") })
	if err == nil {
		if c, ok := s.client.(*goredis.ClusterClient); ok {
			err = c.ForEachMaster(ctx, func(ctx context.Context, c *goredis.Client) error { return isMaster(ctx, c) })
		} else {
			err = isMaster(ctx, s.client)
		}
	}
	if err != nil {
		return fmt.Errorf("kvcache/redis: probe of %s: %w", s.where, err)
	}
	return nil
}

func isMaster(ctx context.Context, c goredis.Cmdable) error {
	info, err := c.Info(ctx, "replication").Result()
	switch {
	case err != nil && strings.HasPrefix(err.Error(), "NOPERM"):
		return nil
	case err != nil:
		return err
	case !strings.Contains(info, "role:master"):
		return errReplica
	}
	return nil
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
