// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pair is a certificate and its key, in files.
type pair struct{ cert, key string }

// write makes a new certificate with this serial number.
func (p pair) write(t testing.TB, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "graphkv test"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(p.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(p.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}

func newPair(t testing.TB) pair {
	dir := t.TempDir()
	p := pair{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	p.write(t, 1)
	return p
}

func TestCertificateIsReadAgain(t *testing.T) {
	p := newPair(t)
	var log bytes.Buffer
	logger, err := newLogger(&log, "text", "info")
	require.NoError(t, err)
	c, err := newCertificate(p.cert, p.key, logger)
	require.NoError(t, err)
	now := time.Now()
	serial := func() int64 { return c.current(now).Leaf.SerialNumber.Int64() }
	require.EqualValues(t, 1, serial())

	touch := func() { // file systems' clocks are coarse
		for _, name := range []string{p.cert, p.key} {
			now = now.Add(time.Second)
			require.NoError(t, os.Chtimes(name, now, now))
		}
	}
	p.write(t, 2)
	touch()
	require.EqualValues(t, 1, serial(), "the files have been looked at a moment ago")
	c.reload()
	require.EqualValues(t, 2, serial(), "told to look")

	p.write(t, 3)
	touch()
	now = now.Add(certificateAge)
	require.EqualValues(t, 3, serial(), "looked by itself")

	// Half of a new pair is no reason to stop.
	half := newPair(t)
	half.write(t, 4)
	cert, err := os.ReadFile(half.cert)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(p.cert, cert, 0o600))
	touch()
	now = now.Add(certificateAge)
	require.EqualValues(t, 3, serial())
	require.Contains(t, log.String(), "cannot be used")
	key, err := os.ReadFile(half.key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(p.key, key, 0o600))
	touch()
	now = now.Add(certificateAge)
	require.EqualValues(t, 4, serial())
	require.NoError(t, os.Remove(p.cert))
	now = now.Add(certificateAge)
	require.EqualValues(t, 4, serial())

	_, err = newCertificate(p.cert, p.key, logger)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.EqualValues(t, tls.VersionTLS12, c.config().MinVersion)
}
