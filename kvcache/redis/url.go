// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package redis

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// bufferBytes is the size of a connection's buffers. What goes through them is copied: what does not fit is read and written in place.
const bufferBytes = 4 << 10

// connect makes a client of a URL; it does not dial. where are the addresses.
func connect(raw string, o *Options) (client goredis.UniversalClient, where string, err error) {
	u, err := url.Parse(raw)
	if err != nil {
		// The error quotes the URL, and with it the password.
		return nil, "", errors.New("kvcache/redis: this is no URL (it is not repeated, it may hold a password)")
	}
	q := u.Query()
	network := u.Scheme == "redis" || u.Scheme == "rediss"
	switch {
	case !network && u.Scheme != "unix":
		return nil, "", errors.New("kvcache/redis: the URL must begin with redis://, rediss:// or unix://")
	case network && (u.Fragment != "" || strings.Contains(u.Path+u.RawQuery, "@")):
		// Part of a password stands where an address or a parameter should be, and would be quoted as such.
		return nil, "", errors.New("kvcache/redis: the URL has # or a second @; in a user or a password these must be percent-encoded")
	}
	cluster := len(q["addr"]) > 0
	if v, ok := q["cluster"]; ok {
		if len(v) != 1 || v[0] != "true" {
			return nil, "", fmt.Errorf("kvcache/redis: cluster=%s in the URL, only cluster=true is known", strings.Join(v, ","))
		}
		cluster = true
		q.Del("cluster")
		u.RawQuery = q.Encode()
		raw = u.String()
	}
	switch {
	case network && q.Has("master_name"):
		c, err := goredis.ParseFailoverURL(raw)
		if err != nil {
			return nil, "", fmt.Errorf("kvcache/redis: %w", err)
		}
		knobs{&c.DialTimeout, &c.ReadTimeout, &c.WriteTimeout, &c.MaxRetries, &c.DialerRetries, &c.PipelinePoolSize,
			&c.ReadBufferSize, &c.WriteBufferSize, &c.ContextTimeoutEnabled, &c.TLSConfig}.set(o)
		return goredis.NewFailoverClient(c), c.MasterName + " of " + strings.Join(c.SentinelAddrs, ","), nil
	case network && cluster:
		c, err := goredis.ParseClusterURL(raw)
		if err != nil {
			return nil, "", fmt.Errorf("kvcache/redis: %w", err)
		}
		knobs{&c.DialTimeout, &c.ReadTimeout, &c.WriteTimeout, &c.MaxRetries, &c.DialerRetries, &c.PipelinePoolSize,
			&c.ReadBufferSize, &c.WriteBufferSize, &c.ContextTimeoutEnabled, &c.TLSConfig}.set(o)
		if c.MaxRedirects == 0 {
			c.MaxRedirects = 2
		}
		c.DisableRoutingPolicies = true // asks the server for its commands first, with time-outs of its own
		c.MaintNotificationsConfig = withoutMaintenance()
		return goredis.NewClusterClient(c), strings.Join(c.Addrs, ","), nil
	}
	c, err := goredis.ParseURL(raw)
	if err != nil {
		return nil, "", fmt.Errorf("kvcache/redis: %w", err)
	}
	knobs{&c.DialTimeout, &c.ReadTimeout, &c.WriteTimeout, &c.MaxRetries, &c.DialerRetries, &c.PipelinePoolSize,
		&c.ReadBufferSize, &c.WriteBufferSize, &c.ContextTimeoutEnabled, &c.TLSConfig}.set(o)
	c.MaintNotificationsConfig = withoutMaintenance()
	return goredis.NewClient(c), c.Addr, nil
}

// knobs are what the options of all kinds of clients have in common and this package sets.
type knobs struct {
	dial, read, write            *time.Duration
	retries, dials, pipelinePool *int
	readBuffer, writeBuffer      *int
	contextTimeout               *bool
	tls                          **tls.Config
}

// set sets what the URL does not, and tells o the time-outs that hold.
func (k knobs) set(o *Options) {
	for _, t := range [...]struct{ url, option *time.Duration }{{k.dial, &o.DialTimeout}, {k.read, &o.ReadTimeout}, {k.write, &o.WriteTimeout}} {
		if *t.url == 0 {
			*t.url = *t.option
		}
		*t.option = *t.url
	}
	// A failure costs one time-out: nothing is tried again unless the URL asks for it, and there is no second pool that would dial as well.
	for _, n := range [...]struct {
		url *int
		one int
	}{{k.retries, -1}, {k.dials, 1}, {k.pipelinePool, -1}} {
		if *n.url == 0 {
			*n.url = n.one
		}
	}
	*k.readBuffer, *k.writeBuffer, *k.contextTimeout = bufferBytes, bufferBytes, true
	if *k.tls == nil || o.TLS == nil {
		return
	}
	made, given := *k.tls, o.TLS.Clone()
	if given.ServerName == "" {
		given.ServerName = made.ServerName
	}
	given.InsecureSkipVerify = given.InsecureSkipVerify || made.InsecureSkipVerify
	*k.tls = given
}

// withoutMaintenance switches off that a server may make the client wait longer than it was told to.
func withoutMaintenance() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}
