// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package chat

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHostileTemplates(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret.txt")
	require.NoError(t, os.WriteFile(secret, []byte("do not read"), 0o600))
	nest := func(n int, open, body, shut string) string {
		return strings.Repeat(open, n) + body + strings.Repeat(shut, n)
	}
	big := "{% set x = 'aaaaaaaaaaaaaaaa' %}"
	for name, text := range map[string]string{
		"huge range":            "{% for i in range(1000000000) %}{% endfor %}",
		"huge range in Go":      "{{ range(1000000000)|length }}",
		"nested empty loops":    nest(8, "{% for i in range(1000) %}", "", "{% endfor %}"),
		"nested loops, output":  nest(8, "{% for i in range(1000) %}", "x", "{% endfor %}"),
		"loop over text":        big + "{% for a in x %}{% for b in x %}{% for c in x %}{% for d in x %}{% for e in x %}{% for f in x %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}",
		"filtered loop":         "{% for i in range(90000) if 'a' in messages[0].content|upper %}{% endfor %}{% for i in range(90000) if false %}{% endfor %}",
		"doubling":              big + "{% for i in range(100) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}" + strings.Repeat("{% set x = x ~ x %}", 60),
		"doubling a namespace":  "{% set ns = namespace(x='aaaa') %}{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
		"doubling a list":       "{% set x = [1,2,3,4] %}" + strings.Repeat("{% set x = x + x %}", 60),
		"doubling by replace":   "{% set x = 'aaaa' %}" + strings.Repeat("{% set x = x|replace('a', 'aaaaaaaaaaaaaaaa') %}", 60),
		"replace of nothing":    "{% set x = 'aaaa' %}" + strings.Repeat("{% set x = x|replace('', x) %}", 60),
		"replace by keyword":    "{% set x = 'aaaa' %}" + strings.Repeat("{% set x = x|replace(old='a', new=x) %}", 60),
		"doubling by join":      "{% set x = 'aaaaaaaa' %}" + strings.Repeat("{% set x = x|join(x) %}", 60),
		"join by keyword":       "{% set x = 'aaaaaaaa' %}" + strings.Repeat("{% set x = x|join(d=x) %}", 60),
		"huge output":           "{% for i in range(90000) %}" + strings.Repeat("x", 1000) + "{% endfor %}",
		"multiplied text":       "{{ 'a' * 1000000000000 }}",
		"power":                 "{{ 10 ** 1000000 }}",
		"wide format":           "{{ '%1000000000d'|format(1) }}",
		"wide center":           "{{ 'a'|center(1000000000) }}",
		"center method":         "{{ 'a'.center(1000000000) }}",
		"ljust method":          "{{ 'a'.ljust(1000000000) }}",
		"format method":         "{{ '{:1000000000}'.format(1) }}",
		"lipsum":                "{{ lipsum(100000000) }}",
		"indent":                "{{ 'a\nb'|indent(1000000000) }}",
		"json indent":           "{{ [1]|tojson(indent=1000000000) }}",
		"modulo by zero":        "{{ 1 % 0 }}",
		"self in itself":        "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
		"messages in itself":    "{% set messages[0].x = messages %}{{ messages }}",
		"loop in itself":        "{% set l = namespace() %}{% for m in [l] %}{% set m.a = l %}{% endfor %}{{ l }}",
		"macro":                 "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
		"call":                  "{% call m() %}{% endcall %}",
		"recursive loop":        "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
		"block set":             "{% set x %}{{ messages }}{% endset %}{{ x }}",
		"block":                 "{% block b %}{{ self.b() }}{% endblock %}",
		"include":               "{% include '" + secret + "' %}",
		"include if missing":    "{% include 'none' ignore missing %}",
		"import":                "{% import '" + secret + "' as s %}",
		"from":                  "{% from '" + secret + "' import s %}",
		"extends":               "{% extends '" + secret + "' %}",
		"deep brackets":         "{{ " + nest(2000, "(", "1", ")") + " }}",
		"deep lists":            "{{ " + nest(2000, "[", "1", "]") + " }}",
		"deep blocks":           nest(1000, "{% if true %}", "x", "{% endif %}"),
		"deep negation":         "{{ " + strings.Repeat("not ", 5000) + "true }}",
		"long expression":       "{{ 'a'" + strings.Repeat(" ~ 'a'", 5000) + " }}",
		"long template":         strings.Repeat("a", maxTemplate+1),
		"empty":                 "",
		"not text":              "\xff\xfe",
		"unclosed tag":          "{% for m in messages %}",
		"unclosed expression":   "{{ messages",
		"unclosed text":         "{{ 'a }}",
		"stray end":             "{% endfor %}",
		"strftime_now":          "{{ strftime_now('%d') }}",
		"environment":           "{{ ''.__class__.__mro__ }}{{ raise_exception('reached') }}",
		"method of an argument": "{{ messages.append(1) }}",
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			tmpl, err := New(text, "", "")
			var got string
			if err == nil {
				got, err = tmpl.Render([]Message{{"user", "hello"}}, true)
			}
			runtime.ReadMemStats(&after)
			assert.Error(t, err, "rendered %q", got)
			assert.NotContains(t, got, "do not read")
			assert.Less(t, time.Since(start), 3*time.Second)
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(512<<20), "bytes allocated")
			if err != nil {
				assert.Less(t, len(err.Error()), 2000, "length of the error")
			}
		})
	}
}

func TestLimitErrors(t *testing.T) {
	for what, text := range map[string]string{
		"steps": "{% for i in range(1000000000) %}{% endfor %}",
		"bytes": "{% for i in range(10000) %}" + strings.Repeat("x", 1000) + "{% endfor %}",
		"depth": "{% set ns = namespace() %}{% set ns.a = ns %}",
	} {
		tmpl, err := New(text, "", "")
		require.NoError(t, err)
		_, err = tmpl.Render([]Message{{"user", "hello"}}, true)
		var limit *LimitError
		if assert.ErrorAs(t, err, &limit) {
			assert.Equal(t, what, limit.What)
		}
	}
	b := newBudget(1, 1)
	b.deadline = time.Now().Add(-time.Second)
	assert.EqualError(t, b.charge(1, 1), "chat: the template took more than 5s")
}

// The limits on the source do not fall on honest constructs.
func TestAllowedConstructs(t *testing.T) {
	for text, want := range map[string]string{
		"{{ range(3)|join(',') }}":                                                                         "0,1,2",
		"{% for i in range(5, 0, -2) %}{{ i }}{% endfor %}":                                                "531",
		"{% for i in range(9) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}":                  "012",
		"{% for i in range(4) %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}":               "023",
		"{% for i in [] %}{% else %}none{% endfor %}":                                                      "none",
		"{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}":                                     "a1",
		"{% set ns = namespace(n=0) %}{% for i in [1,2] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}": "3",
		"{{ messages|selectattr('role', 'equalto', 'user')|list|length }}":                                 "1",
		"{{ '  x '|trim }}{{ 'xxa'.lstrip('x') }}{{ 'a,b'.split(',')[1] }}":                                "xab",
		"{{ undefined_name }}{{ messages[0].nothing }}{{ '' if tools else 'no' }}":                         "no",
		"{% raw %}{{ x }}{% endraw %}":                                                                     "{{ x }}",
	} {
		tmpl, err := New(text, "", "")
		if !assert.NoError(t, err, text) {
			continue
		}
		got, err := tmpl.Render([]Message{{"user", "hello"}}, false)
		if assert.NoError(t, err, text) {
			assert.Equal(t, want, got, text)
		}
	}
}

func FuzzNew(f *testing.F) {
	entries, err := os.ReadDir("testdata/templates")
	require.NoError(f, err)
	for _, e := range entries {
		f.Add(templateText(f, e.Name()), "hello")
	}
	f.Add("{% for i in range(9) %}{{ i }}{% endfor %}", "x")
	f.Add("{{ messages[0]['content'][1:-1:2] | replace('a', 'b') }}", "banana")
	f.Fuzz(func(t *testing.T, text, content string) {
		tmpl, err := New(text, "<s>", "</s>")
		if err != nil {
			return
		}
		msgs := []Message{{"user", content}}
		plain, err := tmpl.Render(msgs, true)
		if err != nil {
			return
		}
		pieces, err := tmpl.Pieces(msgs, true)
		if err != nil {
			return
		}
		var whole strings.Builder
		for _, p := range pieces {
			whole.WriteString(p.Text)
		}
		if whole.String() != plain {
			t.Fatalf("pieces %q, rendering %q", whole.String(), plain)
		}
	})
}
