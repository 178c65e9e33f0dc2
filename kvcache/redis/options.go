// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package redis

import (
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"github.com/graphkv/graphkv/kvcache"
)

// Options say how a [Store] works. The zero value is good.
type Options struct {
	// TTL is how long a node stays that nobody asks for. 0 means a week, the least is a second.
	TTL time.Duration
	// Prefix begins the name of every value. "" means "graphkv:". Braces would break the hash tag and are refused.
	Prefix string
	// MaxKVBytes is the size of the largest KV that is stored or fetched; larger ones are not kept and not found. 0 means 4 GiB.
	MaxKVBytes int64

	// DialTimeout, ReadTimeout and WriteTimeout bound the parts of an exchange with a server, of at most a few MiB. 0 means 500 ms, 1 s and
	// 1 s. Those in a URL take precedence; a client given to [New] has its own.
	DialTimeout, ReadTimeout, WriteTimeout time.Duration
	// Timeout bounds a whole Get, Stream, Put or Delete. 0 means 10 s.
	Timeout time.Duration
	// TLS is used instead of the system's certificates if the URL asks for TLS.
	TLS *tls.Config

	Events kvcache.EventListener
}

// check puts defaults in and says what cannot be.
func (o *Options) check() error {
	if o.Prefix == "" {
		o.Prefix = "graphkv:"
	}
	if o.MaxKVBytes == 0 {
		o.MaxKVBytes = 4 << 30
	}
	for _, d := range [...]struct {
		name string
		d    *time.Duration
		def  time.Duration
		min  time.Duration
	}{
		{"TTL", &o.TTL, 7 * 24 * time.Hour, time.Second},
		{"DialTimeout", &o.DialTimeout, 500 * time.Millisecond, time.Millisecond},
		{"ReadTimeout", &o.ReadTimeout, time.Second, time.Millisecond},
		{"WriteTimeout", &o.WriteTimeout, time.Second, time.Millisecond},
		{"Timeout", &o.Timeout, 10 * time.Second, time.Millisecond},
	} {
		if *d.d == 0 {
			*d.d = d.def
		}
		if *d.d < d.min {
			return fmt.Errorf("kvcache/redis: %s is %v, the least is %v", d.name, *d.d, d.min)
		}
	}
	switch {
	case strings.ContainsAny(o.Prefix, "{}"):
		return fmt.Errorf("kvcache/redis: prefix %q contains a brace", o.Prefix)
	case o.MaxKVBytes < 0 || o.MaxKVBytes > kvcache.MaxKVBytes:
		return fmt.Errorf("kvcache/redis: MaxKVBytes is %d, must be positive and at most %d", o.MaxKVBytes, int64(kvcache.MaxKVBytes))
	}
	return nil
}
