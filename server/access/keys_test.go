// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParseKeys(t *testing.T) {
	k, err := ParseKeys(`
# two of one tenant
acme    8Jw0rPbXkq2sUoYH3nTzLd
acme	sha256:`+fmt.Sprintf("%X", sha256.Sum256([]byte("another-key-of-acme")))+`
  globex=V5mQxC1fRt7yGe9KiSaWbN=, initech=0123456789abcdef
`, "keys")
	require.NoError(t, err)
	require.Equal(t, 4, k.Len())
	require.Equal(t, []string{"acme", "globex", "initech"}, k.Namespaces())
	for key, want := range map[string]string{
		"8Jw0rPbXkq2sUoYH3nTzLd": "acme", "another-key-of-acme": "acme", "V5mQxC1fRt7yGe9KiSaWbN=": "globex", "0123456789abcdef": "initech",
		"": "", "8Jw0rPbXkq2sUoYH3nTzLe": "", "8Jw0rPbXkq2sUoYH3nTzL": "", "8Jw0rPbXkq2sUoYH3nTzLd ": "", "V5mQxC1fRt7yGe9KiSaWbN": "",
		fmt.Sprintf("%x", sha256.Sum256([]byte("another-key-of-acme"))): "", // a hash is no key
	} {
		name, ok := k.Namespace(key)
		require.Equal(t, want, name, key)
		require.Equal(t, want != "", ok, key)
	}
}

func TestParseKeysNamesTheLineAndNeverTheKey(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       "keys has no keys",
		"# nothing\n\n":                          "keys has no keys",
		"a 0123456789abcdef\nsecretsecretsecret": "keys, line 2: a key needs a namespace before it",
		"a secretsecret":                         "keys, line 1: namespace a: a key of 12 bytes, want at least 16",
		"a":                                      "keys, line 1: a key needs a namespace",
		"a=":                                     "keys, line 1: namespace a: a key of 0 bytes",
		"-a secretsecretsecret":                  `keys, line 1: "-a" is not the name of a namespace`,
		strings.Repeat("a", 65) + " secretsecretsecret": "is not the name of a namespace",
		"a secretsecret secret":                         "without blanks",
		"a secretsecretsecrét":                          "printable ASCII",
		"a sha256:secret":                               "64 hexadecimal digits",
		"a sha256:" + strings.Repeat("0", 62):           "64 hexadecimal digits",
		"a 0123456789abcdef, b 0123456789abcdef":        "keys, line 1: namespace b: the same key is there before",
	} {
		_, err := ParseKeys(text, "keys")
		require.ErrorContains(t, err, want, text)
		require.NotContains(t, err.Error(), "secret", text)
		require.NotContains(t, err.Error(), "0123456789", text)
	}
}

// Every key opens its own namespace and no other string opens any.
func TestKeysOpenTheirNamespace(t *testing.T) {
	name := rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._-]{0,20}`)
	key := rapid.StringMatching(`[!-+\--~]{16,40}`).Filter(func(s string) bool { return !strings.HasPrefix(s, hashPrefix) })
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfNDistinct(key, 1, 20, rapid.ID[string]).Draw(t, "keys")
		var text strings.Builder
		names := make([]string, len(keys))
		for i, k := range keys {
			names[i] = name.Draw(t, "namespace")
			shown := k
			if rapid.Bool().Draw(t, "hashed") {
				shown = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(k)))
			}
			fmt.Fprintf(&text, "%s%s%s%s", names[i], rapid.SampledFrom([]string{" ", "\t", "=", "  "}).Draw(t, "gap"), shown, rapid.SampledFrom([]string{"\n", ",", "\r\n"}).Draw(t, "end"))
		}
		k, err := ParseKeys(text.String(), "keys")
		if err != nil {
			t.Fatalf("%q: %v", text.String(), err)
		}
		for i := range keys {
			if got, ok := k.Namespace(keys[i]); !ok || got != names[i] {
				t.Fatalf("key %d opens %q, %v; want %q", i, got, ok, names[i])
			}
		}
		other := rapid.OneOf(key, rapid.String(), rapid.Map(rapid.SampledFrom(keys), func(s string) string { return s[:len(s)-1] })).Draw(t, "other")
		if got, ok := k.Namespace(other); ok && !slices.Contains(keys, other) {
			t.Fatalf("%q opens %q", other, got)
		}
	})
}

// Whatever is presented, it is hashed and compared with every key, in the same order, and no comparison depends on the ones before it.
func TestLookupComparesWithAllKeys(t *testing.T) {
	var text strings.Builder
	for i := range 50 {
		fmt.Fprintf(&text, "n%d key-number-%010d\n", i, i)
	}
	k, err := ParseKeys(text.String(), "keys")
	require.NoError(t, err)
	for _, presented := range []string{"", "x", "key-number-0000000000", "key-number-0000000025", "key-number-0000000049", "key-number-0000000050", "key-number-000000000", strings.Repeat("k", 1e6)} {
		digest := sha256.Sum256([]byte(presented))
		var compared [][sha256.Size]byte
		place := k.find(digest, func(x, y []byte) int {
			compared = append(compared, [sha256.Size]byte(x))
			require.Equal(t, digest[:], y)
			return subtle.ConstantTimeCompare(x, y)
		})
		require.Equal(t, k.digests, compared)
		require.Equal(t, slices.Index(k.digests, digest), place)
	}
}

// The time of a lookup does not tell a known key, first or last, from an unknown one. Welch's t-test over interleaved rounds, as dudect does; it wants a quiet
// machine, so it runs when GRAPHKV_TIMING is set.
func TestLookupTakesTheSameTime(t *testing.T) {
	if os.Getenv("GRAPHKV_TIMING") == "" {
		t.Skip("wants a quiet machine: set GRAPHKV_TIMING")
	}
	var text strings.Builder
	for i := range 100 {
		fmt.Fprintf(&text, "n%d key-number-%010d\n", i, i)
	}
	k, err := ParseKeys(text.String(), "keys")
	require.NoError(t, err)
	classes := []string{"key-number-0000000000", "key-number-0000000099", "key-number-0000000100", "xxx-xxxxxx-xxxxxxxxxx"}
	samples := make([][]float64, len(classes))
	for range 50_000 {
		for _, c := range rand.Perm(len(classes)) { // what ran before is no class's own
			start := time.Now()
			for range 8 {
				k.Namespace(classes[c])
			}
			samples[c] = append(samples[c], float64(time.Since(start)))
		}
	}
	for _, s := range samples { // interruptions are not the code's
		slices.Sort(s)
	}
	for i := range classes {
		for j := range i {
			a, b := samples[i][:len(samples[i])*9/10], samples[j][:len(samples[j])*9/10]
			ma, va := meanVariance(a)
			mb, vb := meanVariance(b)
			score := (ma - mb) / math.Sqrt(va/float64(len(a))+vb/float64(len(b)))
			t.Logf("%s: %.1f ns, %s: %.1f ns, difference %.2f%%, t = %.1f", classes[i], ma/8, classes[j], mb/8, 100*(ma-mb)/mb, score)
			require.Less(t, math.Abs(ma-mb)/mb, 0.005, "a difference of more than a few nanoseconds")
		}
	}
}

func meanVariance(x []float64) (mean, variance float64) {
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		variance += (v - mean) * (v - mean) / float64(len(x)-1)
	}
	return mean, variance
}
