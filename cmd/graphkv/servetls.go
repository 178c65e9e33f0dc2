// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateAge is how long a certificate is used without a look at its files.
const certificateAge = 5 * time.Second

// certificate is read from two files, and again when they change.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu     sync.Mutex
	cert   *tls.Certificate
	stamps [2]stamp
	looked time.Time
}

// stamp is what changes with a file's content.
type stamp struct {
	modified time.Time
	size     int64
}

func newCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.read(); err != nil {
		return nil, err
	}
	return c, nil
}

// config returns what a server does TLS with. The standard library's choice of suites and curves is left alone.
func (c *certificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return c.current(time.Now()), nil
	}}
}

// current returns the certificate, read again if its files have changed. A pair that cannot be used, such as one of which only half is written yet,
// leaves the last good one in use.
func (c *certificate) current(now time.Time) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.looked) < certificateAge {
		return c.cert
	}
	c.looked = now
	if c.stampsNow() == c.stamps {
		return c.cert
	}
	if err := c.read(); err != nil {
		c.log.Error("the new TLS certificate cannot be used; the one before stays", "error", err)
	} else {
		c.log.Info("the TLS certificate was read again", "file", c.certFile, "expires", c.cert.Leaf.NotAfter)
	}
	return c.cert
}

// reload makes the next connection look at the files.
func (c *certificate) reload() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked = time.Time{}
}

// read reads both files; the lock is held, or nobody else has c.
func (c *certificate) read() error {
	stamps := c.stampsNow() // before the content: what changes meanwhile is read again
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("TLS certificate: %w", err)
	}
	c.cert, c.stamps = &cert, stamps
	return nil
}

func (c *certificate) stampsNow() (s [2]stamp) {
	for i, name := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(name); err == nil {
			s[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return s
}
