// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package redis

import (
	"crypto/tls"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

func TestURLs(t *testing.T) {
	open := func(url string, o Options) (goredis.UniversalClient, string, Options) {
		require.NoError(t, o.check())
		c, where, err := connect(url, &o)
		require.NoError(t, err, url)
		t.Cleanup(func() { c.Close() })
		return c, where, o
	}
	single := func(url string, o Options) *goredis.Options {
		c, _, _ := open(url, o)
		require.IsType(t, new(goredis.Client), c)
		return c.(*goredis.Client).Options()
	}

	o := single("redis://user:pa%40ss@host:1234/3", Options{})
	require.Equal(t, []any{"host:1234", 3, "user", "pa@ss"}, []any{o.Addr, o.DB, o.Username, o.Password})
	require.Nil(t, o.TLSConfig)
	require.Equal(t, []any{500 * time.Millisecond, time.Second, time.Second}, []any{o.DialTimeout, o.ReadTimeout, o.WriteTimeout})
	require.Equal(t, []any{0, 1, -1, true}, []any{o.MaxRetries, o.DialerRetries, o.PipelinePoolSize, o.ContextTimeoutEnabled})

	o = single("unix:///run/redis.sock?db=2", Options{})
	require.Equal(t, []any{"unix", "/run/redis.sock", 2}, []any{o.Network, o.Addr, o.DB})

	// The URL's time-outs come first, then the options'.
	c, _, opts := open("redis://host?read_timeout=3s&max_retries=2", Options{ReadTimeout: time.Minute, WriteTimeout: 2 * time.Second})
	o = c.(*goredis.Client).Options()
	require.Equal(t, []any{3 * time.Second, 2 * time.Second, 2}, []any{o.ReadTimeout, o.WriteTimeout, o.MaxRetries})
	require.Equal(t, 3*time.Second, opts.ReadTimeout)

	// TLS: the URL says whether and whom, the options whom to trust.
	require.Equal(t, "host", single("rediss://host", Options{}).TLSConfig.ServerName)
	given := &tls.Config{MinVersion: tls.VersionTLS13}
	o = single("rediss://host?skip_verify=true", Options{TLS: given})
	require.Equal(t, []any{"host", uint16(tls.VersionTLS13), true}, []any{o.TLSConfig.ServerName, o.TLSConfig.MinVersion, o.TLSConfig.InsecureSkipVerify})
	require.Equal(t, &tls.Config{MinVersion: tls.VersionTLS13}, given, "the caller's own must stay as it is")
	require.Equal(t, "name", single("rediss://host", Options{TLS: &tls.Config{ServerName: "name"}}).TLSConfig.ServerName)
	require.Nil(t, single("redis://host", Options{TLS: given}).TLSConfig)

	for _, url := range []string{"redis://u:p@a:1?addr=b:2&addr=c:3", "redis://u:p@a:1?cluster=true&addr=b:2&addr=c:3"} {
		c, where, _ := open(url, Options{})
		require.IsType(t, new(goredis.ClusterClient), c)
		co := c.(*goredis.ClusterClient).Options()
		require.Equal(t, []any{[]string{"a:1", "b:2", "c:3"}, "u", "p", 1, -1}, []any{co.Addrs, co.Username, co.Password, co.DialerRetries, co.MaxRetries})
		require.Equal(t, "a:1,b:2,c:3", where)
	}
	c, where, _ := open("redis://a:1?cluster=true", Options{})
	require.IsType(t, new(goredis.ClusterClient), c)
	require.Equal(t, "a:1", where)

	c, where, _ = open("redis://su:sp@a:1/4?master_name=mymaster&addr=b:2&username=u&password=p", Options{})
	require.Equal(t, "mymaster of a:1,b:2", where)
	o = c.(*goredis.Client).Options()
	require.Equal(t, []any{"FailoverClient", 4, "u", "p", 0, 1}, []any{o.Addr, o.DB, o.Username, o.Password, o.MaxRetries, o.DialerRetries})
}

func TestBadURLsAndOptions(t *testing.T) {
	for url, want := range map[string]string{
		"":                                                     "must begin with redis://",
		"http://user:hunter2@host":                             "must begin with redis://",
		"redis://user:hunter2@host:port":                       "no URL",
		"redis://user:hunt#er2@host":                           "no URL",
		"redis://user:12#hunter2@host":                         "percent-encoded",
		"redis://user:12?hunter2@host":                         "percent-encoded",
		"redis://user:12/hunter2@host":                         "percent-encoded",
		"redis://user:hunter2@host/x":                          "invalid database number",
		"redis://user:hunter2@host?y=1":                        "unexpected option: y",
		"redis://user:hunter2@h?addr=bad":                      "unable to parse addr param: bad",
		"redis://user:hunter2@h?cluster=":                      "only cluster=true is known",
		"redis://h?master_name=m&password=hunter2&pool_size=x": "invalid pool_size",
	} {
		_, err := Open(t.Context(), url, Options{})
		require.ErrorContains(t, err, want, url)
		require.NotContains(t, err.Error(), "hunt", url)
	}
	for want, o := range map[string]Options{
		"contains a brace":           {Prefix: "a{b"},
		"TTL is 1ms":                 {TTL: time.Millisecond},
		"ReadTimeout is -1ns":        {ReadTimeout: -1},
		"DialTimeout is 1ns":         {DialTimeout: 1},
		"Timeout is -1s":             {Timeout: -time.Second},
		"MaxKVBytes is -1":           {MaxKVBytes: -1},
		"MaxKVBytes is 219902325555": {MaxKVBytes: 2 << 40},
	} {
		_, err := Open(t.Context(), "redis://host", o)
		require.ErrorContains(t, err, want)
		_, err = New(nil, o)
		require.ErrorContains(t, err, want)
	}
}
