// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

type vector struct {
	Name  string
	Scope struct{ Model, Encoding, RoPE, Namespace string }

	Tokens  []int32
	Sources []struct {
		Key    string
		Base   int
		Scale  float32
		Bias   []float32
		Power  float32
		Ranked bool
	}
	Form, Key string
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func (v *vector) compute(t testing.TB) Key {
	var sources []Source
	for _, s := range v.Sources {
		sources = append(sources, Source{Key: Key(unhex(t, s.Key)), Base: s.Base, Scale: s.Scale, Bias: s.Bias, Power: s.Power, Ranked: s.Ranked})
	}
	return NewScope(ScopeConfig{
		Model: [32]byte(unhex(t, v.Scope.Model)), Encoding: v.Scope.Encoding,
		RoPE: unhex(t, v.Scope.RoPE), Namespace: v.Scope.Namespace,
	}).KeyAs(v.Form, v.Tokens, sources)
}

// TestKeyVectors compares with keys computed by testdata/nodekey.py.
func TestKeyVectors(t *testing.T) {
	file, err := os.ReadFile("testdata/nodekeys.json")
	require.NoError(t, err)
	var vectors []vector
	require.NoError(t, json.Unmarshal(file, &vectors))
	require.Greater(t, len(vectors), 40)
	for _, v := range vectors {
		require.Equal(t, v.Key, v.compute(t).String(), v.Name)
	}
	if python, err := exec.LookPath("python3"); err == nil {
		out, err := exec.Command(python, "testdata/nodekey.py").Output()
		require.NoError(t, err)
		require.True(t, bytes.Equal(file, out), "testdata/nodekeys.json is not what nodekey.py prints")
	}
}

// TestKeyGolden pins keys. If it fails, keys in existing caches no longer match:
// a change of the encoding needs a new version in the domain strings.
func TestKeyGolden(t *testing.T) {
	var model [32]byte
	for i := range model {
		model[i] = byte(i)
	}
	s := NewScope(ScopeConfig{Model: model, Encoding: "f32", RoPE: []byte{0x00, 0x40, 0xc3, 0x50, 0x47}, Namespace: "tenant-é"})
	a := s.Key([]int32{1, 2, 3}, nil)
	b := s.Key([]int32{4, 5, -6, math.MaxInt32, math.MinInt32}, nil)
	target := s.Key([]int32{7, 8}, []Source{{Key: a, Base: -3}, {Key: b, Base: -3}})
	require.Equal(t, "90ba9935b2e6cd6fd0f99d0e7434b2e966a15e3dc686fd5c5098991f5afa644a", a.String())
	require.Equal(t, "8470d192e464a5f7edcd4aaa08fc0d93b748173632c8eb9841196ee2a6b0dfb0", b.String())
	require.Equal(t, "052486263726ad5850e5df7d0af242e7df84713acc63ba5280d7f16a5c02b704", target.String())
}

// node is what a key is made of.
type node struct {
	scope   ScopeConfig
	tokens  []int32
	sources []Source
	form    string
}

func genSource(t *rapid.T) Source {
	return Source{
		Key:    Key{rapid.Byte().Draw(t, "key")},
		Base:   rapid.IntRange(-2, 2).Draw(t, "base"),
		Scale:  rapid.SampledFrom([]float32{0, 1, 0.5, -2}).Draw(t, "scale"),
		Bias:   rapid.SampledFrom([][]float32{nil, {0, 0}, {0.5, 0}, {0, 0.5}, {0.5}, {1, 1}}).Draw(t, "bias"),
		Power:  rapid.SampledFrom([]float32{0, 1, 0.5}).Draw(t, "power"),
		Ranked: rapid.Bool().Draw(t, "ranked"),
	}
}

func genNode(t *rapid.T) node {
	text := rapid.StringOfN(rapid.RuneFrom([]rune("ab")), 0, 3, -1)
	return node{
		scope: ScopeConfig{
			Model: [32]byte{rapid.Byte().Draw(t, "model")}, Encoding: text.Draw(t, "encoding"),
			RoPE: []byte(text.Draw(t, "rope")), Namespace: text.Draw(t, "namespace"),
		},
		tokens:  rapid.SliceOfN(rapid.Int32(), 0, 6).Draw(t, "tokens"),
		sources: rapid.SliceOfN(rapid.Custom(genSource), 0, 5).Draw(t, "sources"),
		form:    text.Draw(t, "form"),
	}
}

func (n node) key() Key { return NewScope(n.scope).KeyAs(n.form, n.tokens, n.sources) }

func (n node) clone() node {
	n.scope.RoPE = slices.Clone(n.scope.RoPE)
	n.tokens = slices.Clone(n.tokens)
	n.sources = slices.Clone(n.sources)
	for i := range n.sources {
		n.sources[i].Bias = slices.Clone(n.sources[i].Bias)
	}
	return n
}

func TestKeyIgnoresOrderAndNeutralValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := genNode(t)
		want := n.key()
		other := n.clone()
		other.sources = rapid.Permutation(other.sources).Draw(t, "permutation")
		given := other.clone()
		for i := range other.sources {
			s := &other.sources[i]
			if s.Scale == 0 || s.Scale == 1 {
				s.Scale = rapid.SampledFrom([]float32{0, 1, float32(math.Copysign(0, -1))}).Draw(t, "neutral scale")
			}
			if s.Power == 0 || s.Power == 1 {
				s.Power = rapid.SampledFrom([]float32{0, 1}).Draw(t, "neutral power")
			}
			if !slices.ContainsFunc(s.Bias, func(b float32) bool { return b != 0 }) {
				s.Bias = make([]float32, rapid.IntRange(0, 3).Draw(t, "heads"))
			}
			for h, b := range s.Bias {
				if b == 0 && rapid.Bool().Draw(t, "minus zero") {
					s.Bias[h] = float32(math.Copysign(0, -1))
				}
			}
			if c := s.Compare(given.sources[i]); c != 0 {
				t.Fatalf("Compare of %+v and %+v is %d", *s, given.sources[i], c)
			}
		}
		before := other.clone()
		if got := other.key(); got != want {
			t.Fatalf("key changed with order or neutral values: %v, %v", got, want)
		}
		for i, s := range other.sources {
			if s.Key != before.sources[i].Key || s.Base != before.sources[i].Base {
				t.Fatal("Key reordered the caller's sources")
			}
		}
	})
}

// TestKeyChanges changes one thing at a time; every change must show.
func TestKeyChanges(t *testing.T) {
	changes := map[string]func(t *rapid.T, n *node){
		"model":     func(t *rapid.T, n *node) { n.scope.Model[rapid.IntRange(0, 31).Draw(t, "i")] ^= 1 },
		"encoding":  func(t *rapid.T, n *node) { n.scope.Encoding += "a" },
		"rope":      func(t *rapid.T, n *node) { n.scope.RoPE = append(n.scope.RoPE, 0) },
		"form":      func(t *rapid.T, n *node) { n.form += "a" },
		"namespace": func(t *rapid.T, n *node) { n.scope.Namespace += "\x00" },
		"shift encoding into rope": func(t *rapid.T, n *node) {
			n.scope.Encoding += "a"
			n.scope.RoPE = append(n.scope.RoPE, 'b')
		},
		"token": func(t *rapid.T, n *node) {
			n.tokens = append(n.tokens, 1)
			i := rapid.IntRange(0, len(n.tokens)-1).Draw(t, "i")
			n.tokens[i] += rapid.Int32Range(1, 1<<30).Draw(t, "delta")
		},
		"drop last token": func(t *rapid.T, n *node) {
			if len(n.tokens) == 0 {
				t.Skip("no token")
			}
			n.tokens = n.tokens[:len(n.tokens)-1]
		},
		"more sources": func(t *rapid.T, n *node) { n.sources = append(n.sources, genSource(t)) },
	}
	onSource := func(f func(t *rapid.T, s *Source)) func(*rapid.T, *node) {
		return func(t *rapid.T, n *node) {
			if len(n.sources) == 0 {
				t.Skip("no source")
			}
			f(t, &n.sources[rapid.IntRange(0, len(n.sources)-1).Draw(t, "source")])
		}
	}
	changes["ancestor"] = onSource(func(t *rapid.T, s *Source) { s.Key[rapid.IntRange(0, 31).Draw(t, "i")] ^= 0x80 })
	changes["base"] = onSource(func(t *rapid.T, s *Source) { s.Base += rapid.SampledFrom([]int{1, -1, 256, 1 << 40}).Draw(t, "d") })
	changes["scale"] = onSource(func(t *rapid.T, s *Source) {
		if s.Scale == 0 {
			s.Scale = 1
		}
		s.Scale = math.Nextafter32(s.Scale, 10)
	})
	changes["ranked"] = onSource(func(_ *rapid.T, s *Source) { s.Ranked = !s.Ranked })
	changes["power"] = onSource(func(t *rapid.T, s *Source) {
		if s.Power == 0 {
			s.Power = 1
		}
		s.Power = math.Nextafter32(s.Power, 10)
	})
	changes["bias"] = onSource(func(t *rapid.T, s *Source) {
		if s.Bias == nil {
			s.Bias = make([]float32, 2)
		}
		h := rapid.IntRange(0, len(s.Bias)-1).Draw(t, "head")
		s.Bias[h] = math.Nextafter32(s.Bias[h], 10)
	})
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				n := genNode(t)
				changed := n.clone()
				change(t, &changed)
				if n.key() == changed.key() {
					t.Fatalf("same key for %+v and %+v", n, changed)
				}
			})
		})
	}
}

// TestKeyAncestors: a change in the first node of a chain reaches the last.
func TestKeyAncestors(t *testing.T) {
	s := NewScope(ScopeConfig{})
	chain := func(first int32) (keys []Key) {
		keys = append(keys, s.Key([]int32{first}, nil))
		for i := range 5 {
			keys = append(keys, s.Key([]int32{100}, []Source{{Key: keys[i], Base: -1}}))
		}
		return keys
	}
	a, b := chain(1), chain(2)
	seen := make(map[Key]bool)
	for _, k := range append(a, b...) {
		require.False(t, seen[k])
		seen[k] = true
	}
	require.Equal(t, a, chain(1))
}

// readNode reads a node from fuzz data and, beside it, a canonical form built in
// another way than Key builds its own.
func readNode(data []byte) (n node, form string, rest []byte) {
	next := func() int {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return int(b)
	}
	type flat struct {
		Base  int
		Key   string
		Scale float64
		Bias  []float64
	}
	values := []float32{0, 1, 0.5, -1, float32(math.Copysign(0, -1)), float32(math.Inf(-1))}
	n.scope.Model[0] = byte(next() % 2)
	n.scope.Encoding = string(make([]byte, next()%3))
	n.scope.RoPE = make([]byte, next()%3)
	n.scope.Namespace = string(make([]byte, next()%3))
	for range next() % 5 {
		n.tokens = append(n.tokens, int32(next()%4)<<(8*(next()%4)))
	}
	var flats []string
	for range next() % 4 {
		s := Source{Key: Key{byte(next() % 2)}, Base: next()%3 - 1, Scale: values[next()%5]}
		f := flat{Base: s.Base, Key: s.Key.String(), Scale: float64(s.Scale)}
		if f.Scale == 0 {
			f.Scale = 1
		}
		some := false
		for range next() % 4 {
			b := values[next()%6]
			s.Bias = append(s.Bias, b)
			some = some || b != 0
			f.Bias = append(f.Bias, max(float64(b)+0, -1e300)) // JSON has no -Inf
		}
		if !some {
			f.Bias = nil
		}
		n.sources = append(n.sources, s)
		j, _ := json.Marshal(f)
		flats = append(flats, string(j))
	}
	slices.Sort(flats)
	j, _ := json.Marshal([]any{n.scope, append([]int32{}, n.tokens...), flats})
	return n, string(j), data
}

// FuzzKey: two nodes have the same key exactly when they mean the same.
func FuzzKey(f *testing.F) {
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{1, 2, 3, 0, 5}, 20))
	f.Add(binary.LittleEndian.AppendUint64(bytes.Repeat([]byte{3, 0, 1}, 15), 0x0102030401020304))
	f.Add(append([]byte{0, 0, 0, 0, 1, 1, 0, 1, 1, 1, 0, 1, 0}, 0, 0, 0, 0, 1, 1, 0, 1, 1, 1, 1, 0, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, formA, rest := readNode(data)
		b, formB, _ := readNode(rest)
		if (a.key() == b.key()) != (formA == formB) {
			t.Fatalf("%s\n%s\nkeys %v %v", formA, formB, a.key(), b.key())
		}
	})
}

func TestKeyRefusesNaN(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	s := NewScope(ScopeConfig{})
	for _, c := range []struct {
		bad  Source
		head int
		want string
	}{
		{Source{Scale: nan}, -1, "kvcache: source 1: scale is NaN, must be finite"},
		{Source{Scale: inf}, -1, "kvcache: source 1: scale is +Inf, must be finite"},
		{Source{Scale: -inf}, -1, "kvcache: source 1: scale is -Inf, must be finite"},
		{Source{Bias: []float32{0, nan}}, 1, "kvcache: source 1: bias of head 1 is NaN, must be finite or -Inf"},
		{Source{Bias: []float32{inf}}, 0, "kvcache: source 1: bias of head 0 is +Inf, must be finite or -Inf"},
	} {
		func() {
			defer func() {
				e, ok := recover().(*SourceError)
				require.True(t, ok)
				require.Equal(t, 1, e.Index)
				require.Equal(t, c.head, e.Head)
				require.EqualError(t, e, c.want)
			}()
			s.Key(nil, []Source{{}, c.bad})
		}()
		var e *SourceError
		require.True(t, errors.As(c.bad.Validate(), &e))
		require.Equal(t, -1, e.Index)
	}
	require.NoError(t, Source{Scale: -3, Bias: []float32{-inf, 2}}.Validate())
	require.NotPanics(t, func() { s.Key(nil, []Source{{Bias: []float32{-inf}}}) })
	require.Panics(t, func() { new(Scope).Key(nil, nil) })
}

func TestCompareIsAnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := genSource(t), genSource(t), genSource(t)
		if a.Compare(b) != -b.Compare(a) {
			t.Fatalf("not antisymmetric: %+v, %+v", a, b)
		}
		if a.Compare(b) <= 0 && b.Compare(c) <= 0 && a.Compare(c) > 0 {
			t.Fatalf("not transitive: %+v, %+v, %+v", a, b, c)
		}
		s := NewScope(ScopeConfig{})
		if same := s.Key(nil, []Source{a}) == s.Key(nil, []Source{b}); same != (a.Compare(b) == 0) {
			t.Fatalf("Compare %d, keys equal %v: %+v, %+v", a.Compare(b), same, a, b)
		}
	})
}

// TestKeyConcurrent: one scope, many goroutines, always the same key.
func TestKeyConcurrent(t *testing.T) {
	s := NewScope(ScopeConfig{})
	tokens := make([]int32, 3000)
	sources := []Source{{Base: 2}, {Base: 1, Bias: []float32{1, 2}}, {Base: -4, Scale: 3}}
	want := s.Key(tokens, sources)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				if s.Key(tokens, sources) != want {
					t.Error("key differs between goroutines")
					return
				}
				s.Key(tokens[:g*100+i], sources[:g%3])
			}
		})
	}
	wg.Wait()
}

func TestKeyAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops items at random under the race detector")
	}
	s := NewScope(ScopeConfig{})
	tokens := make([]int32, 2000)
	sources := make([]Source, 30)
	for i := range sources {
		sources[i] = Source{Base: -i, Scale: 0.5, Bias: make([]float32, 32)}
	}
	n := testing.AllocsPerRun(200, func() { s.Key(tokens, sources) })
	require.LessOrEqual(t, n, 0.0)
}

// TestKeyKeepsNothing: the pooled encoder must not keep a caller's biases alive.
func TestKeyKeepsNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops items at random under the race detector")
	}
	NewScope(ScopeConfig{}).Key(nil, []Source{{Bias: make([]float32, 8)}, {Bias: []float32{1}}})
	e := encoders.Get().(*encoder)
	defer encoders.Put(e)
	for _, s := range e.sources[:cap(e.sources)] {
		require.Nil(t, s.Bias)
	}
}

func BenchmarkKey(b *testing.B) {
	s := NewScope(ScopeConfig{})
	for _, c := range []struct {
		name            string
		tokens, sources int
	}{{"tokens=256", 256, 0}, {"tokens=256/sources=16", 256, 16}, {"tokens=8192", 8192, 0}} {
		b.Run(c.name, func(b *testing.B) {
			tokens, sources := make([]int32, c.tokens), make([]Source, c.sources)
			for i := range sources {
				sources[i] = Source{Key: Key{byte(i * 37)}, Base: -300}
			}
			b.SetBytes(int64(4 * c.tokens))
			b.ReportAllocs()
			for b.Loop() {
				s.Key(tokens, sources)
			}
		})
	}
}

// Sources in canonical order are hashed where they are, others as if they were.
func TestKeyOfManySources(t *testing.T) {
	s := NewScope(ScopeConfig{})
	sources := make([]Source, 3000)
	for i := range sources {
		sources[i] = Source{Key: Key{byte(i >> 8), byte(i)}, Base: -1 - i%7}
	}
	given := slices.Clone(sources)
	canonical := slices.SortedFunc(slices.Values(sources), Source.Compare)
	require.Equal(t, s.Key([]int32{1}, canonical), s.Key([]int32{1}, sources))
	require.Equal(t, given, sources, "the caller's list stays as it is")
}
