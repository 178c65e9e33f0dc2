// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// MinKey is the length of the shortest key that is accepted, in bytes. A key of 16 random letters
// and digits cannot be found by trying.
const MinKey = 16

// hashPrefix begins a key that is given by its hash.
const hashPrefix = "sha256:"

var namespaceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Keys are the hashes of API keys and the namespaces they open. They do not change.
type Keys struct {
	digests    [][sha256.Size]byte
	namespaces []string // of each digest
}

// ParseKeys reads keys, one a line or between commas, after the namespace they open and a blank or "=":
//
//	# two keys of one tenant, so that one can be replaced
//	acme    8Jw0rPbXkq2sUoYH3nTzLd
//	acme    sha256:64 hexadecimal digits, what sha256sum prints
//	globex  V5mQxC1fRt7yGe9KiSaWbN
//
// A namespace is of letters, digits, ".", "_" and "-"; a key of printable ASCII but commas, at least [MinKey]
// bytes. Errors name source and the line, and never quote a key.
func ParseKeys(text, source string) (*Keys, error) {
	k := &Keys{}
	for n, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		for entry := range strings.SplitSeq(line, ",") {
			if entry = strings.TrimSpace(entry); entry == "" {
				continue
			}
			if err := k.add(entry); err != nil {
				return nil, fmt.Errorf("%s, line %d: %w", source, n+1, err)
			}
		}
	}
	if len(k.digests) == 0 {
		return nil, fmt.Errorf("%s has no keys", source)
	}
	return k, nil
}

func (k *Keys) add(entry string) error {
	i := strings.IndexAny(entry, " \t=")
	if i < 0 {
		return errors.New("a key needs a namespace before it, such as: acme KEY")
	}
	namespace, key := entry[:i], strings.TrimSpace(entry[i+1:])
	if !namespaceName.MatchString(namespace) {
		return fmt.Errorf("%q is not the name of a namespace: up to 64 letters, digits, dots, dashes and underscores", namespace)
	}
	digest, err := parseKey(key)
	if err != nil {
		return fmt.Errorf("namespace %s: %w", namespace, err)
	}
	if slices.Contains(k.digests, digest) {
		return fmt.Errorf("namespace %s: the same key is there before", namespace)
	}
	k.digests = append(k.digests, digest)
	k.namespaces = append(k.namespaces, namespace)
	return nil
}

func parseKey(key string) (digest [sha256.Size]byte, err error) {
	if h, ok := strings.CutPrefix(key, hashPrefix); ok {
		b, err := hex.DecodeString(h)
		if err != nil || len(b) != sha256.Size {
			return digest, fmt.Errorf("%s wants %d hexadecimal digits after it", hashPrefix, 2*sha256.Size)
		}
		return [sha256.Size]byte(b), nil
	}
	if len(key) < MinKey {
		return digest, fmt.Errorf("a key of %d bytes, want at least %d", len(key), MinKey)
	}
	for _, c := range []byte(key) {
		if c <= ' ' || c > '~' {
			return digest, errors.New("a key is of printable ASCII without blanks")
		}
	}
	return sha256.Sum256([]byte(key)), nil
}

// Len is the number of keys.
func (k *Keys) Len() int { return len(k.digests) }

// Namespaces are those that keys open, sorted.
func (k *Keys) Namespaces() []string {
	return slices.Compact(slices.Sorted(slices.Values(k.namespaces)))
}

// Namespace returns the one that key opens. How long it takes depends on the length of key and the number of keys alone.
func (k *Keys) Namespace(key string) (name string, ok bool) {
	i := k.find(sha256.Sum256([]byte(key)), subtle.ConstantTimeCompare)
	if i < 0 {
		return "", false
	}
	return k.namespaces[i], true
}

// find returns the place of digest, or −1. It compares with all, whichever fits.
func (k *Keys) find(digest [sha256.Size]byte, equal func(x, y []byte) int) int {
	place := -1
	for i := range k.digests {
		place = subtle.ConstantTimeSelect(equal(k.digests[i][:], digest[:]), i, place)
	}
	return place
}
