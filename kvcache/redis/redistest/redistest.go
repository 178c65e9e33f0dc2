// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package redistest starts real Redis servers for tests: on free ports of the loopback interface, without persistence, in folders of their
// own, stopped when the test ends. A test is skipped where there is no redis-server, and fails instead if GRAPHKV_REQUIRE_REDIS is set.
package redistest

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

const patience = 10 * time.Second

// Require skips or fails the test if there is no redis-server. It returns the path of the program.
func Require(tb testing.TB) string {
	tb.Helper()
	path, err := exec.LookPath("redis-server")
	switch {
	case err == nil:
		return path
	case os.Getenv("GRAPHKV_REQUIRE_REDIS") != "":
		tb.Fatalf("GRAPHKV_REQUIRE_REDIS is set, but: %v", err)
	default:
		tb.Skipf("needs a Redis server (Debian's package redis-server): %v", err)
	}
	return ""
}

// Server is a redis-server.
type Server struct {
	Addr string      // host:port
	TLS  *tls.Config // for clients; nil if the server does not speak TLS

	tb   testing.TB
	args []string
	cmd  *exec.Cmd
	log  *output
}

// Start starts a server with further arguments of redis-server, "--maxmemory", "8mb" say, and waits until it answers.
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	return start(tb, nil, append([]string{"--port", portArg, "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"}, args...)...)
}

// portArg stands for the port in the arguments of a server.
const portArg = "$PORT"

func start(tb testing.TB, client *tls.Config, args ...string) *Server {
	tb.Helper()
	Require(tb)
	s := &Server{tb: tb, TLS: client}
	tb.Cleanup(s.Kill)
	// Between the port's being found free and the server's taking it, somebody else may have taken it.
	for attempt := 1; ; attempt++ {
		port := strconv.Itoa(freePort(tb))
		s.Addr = net.JoinHostPort("127.0.0.1", port)
		s.args = append(slices.Clone(args), "--bind", "127.0.0.1", "--dir", tb.TempDir())
		for i, arg := range s.args {
			if arg == portArg {
				s.args[i] = port
			}
		}
		err := s.run()
		if err == nil {
			return s
		}
		if attempt == 3 {
			tb.Fatalf("redis-server %q: %v\n%s", s.args, err, s.log)
		}
	}
}

// URL returns the URL of database 0.
func (s *Server) URL() string {
	if s.TLS != nil {
		return "rediss://" + s.Addr
	}
	return "redis://" + s.Addr
}

// Client returns a client to inspect the server with.
func (s *Server) Client() *goredis.Client {
	c := goredis.NewClient(&goredis.Options{Addr: s.Addr, MaxRetries: -1, DialerRetries: 1, DialTimeout: time.Second, TLSConfig: s.TLS})
	s.tb.Cleanup(func() { c.Close() })
	return c
}

// Kill kills the server (SIGKILL) and waits for its end.
func (s *Server) Kill() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.cmd = nil
	}
}

// Restart starts a killed server anew, on the same port and with nothing in it.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Kill()
	if err := s.run(); err != nil {
		s.tb.Fatalf("redis-server %q: %v\n%s", s.args, err, s.log)
	}
}

// run starts the program and waits until it accepts connections.
func (s *Server) run() error {
	s.log = new(output)
	s.cmd = exec.Command(Require(s.tb), s.args...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return err
	}
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if bytes.Contains(s.log.Bytes(), []byte("eady to accept connections")) || bytes.Contains(s.log.Bytes(), []byte("Sentinel ID is")) {
			return nil
		}
		if bytes.Contains(s.log.Bytes(), []byte("Failed listening on port")) || time.Now().After(end) {
			s.Kill()
			return fmt.Errorf("it does not serve %s", s.Addr)
		}
	}
}

// Cluster starts a Redis Cluster of masters that share the slots, waits until it is complete, and returns its nodes.
func Cluster(tb testing.TB, nodes int) []*Server {
	tb.Helper()
	const slots = 16384
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	servers := make([]*Server, nodes)
	clients := make([]*goredis.Client, nodes)
	bus := make([]string, nodes)
	for i := range servers {
		bus[i] = strconv.Itoa(freePort(tb)) // by default the port plus 10000, which may be none
		servers[i] = Start(tb, "--cluster-enabled", "yes", "--cluster-port", bus[i], "--cluster-node-timeout", "2000")
		clients[i] = servers[i].Client()
	}
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatalf("Redis Cluster: %v", err)
		}
	}
	for i, c := range clients {
		must(c.Do(ctx, "cluster", "set-config-epoch", i+1).Err())
		must(c.ClusterAddSlotsRange(ctx, slots*i/nodes, slots*(i+1)/nodes-1).Err())
	}
	for i, s := range servers[1:] {
		host, port, err := net.SplitHostPort(s.Addr)
		must(err)
		must(clients[0].Do(ctx, "cluster", "meet", host, port, bus[i+1]).Err())
	}
	for _, c := range clients {
		for {
			info, err := c.ClusterInfo(ctx).Result()
			must(err)
			if bytes.Contains([]byte(info), []byte("cluster_state:ok")) && bytes.Contains([]byte(info), fmt.Appendf(nil, "cluster_known_nodes:%d", nodes)) {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return servers
}

// Sentinel starts a Sentinel that watches master under the name mymaster and fails over half a second after its death.
func Sentinel(tb testing.TB, master *Server) *Server {
	tb.Helper()
	host, port, err := net.SplitHostPort(master.Addr)
	if err != nil {
		tb.Fatal(err)
	}
	config := filepath.Join(tb.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor mymaster %s %s 1\nsentinel down-after-milliseconds mymaster 500\nsentinel failover-timeout mymaster 3000\n", host, port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return start(tb, nil, config, "--sentinel", "--port", portArg)
}

// freePort returns a port of the loopback interface that nobody listens to.
func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// output collects what a server prints.
type output struct {
	mu sync.Mutex
	b  []byte
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b = append(o.b, p...)
	return len(p), nil
}

// Bytes returns a copy of all there is.
func (o *output) Bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.b)
}

func (o *output) String() string { return string(o.Bytes()) }
