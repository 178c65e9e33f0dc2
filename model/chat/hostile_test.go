// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package chat

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// patience is many times what a hostile template takes on a quiet machine
// without the race detector.
const patience = 4 * time.Second

func nsFields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{%% set n.f%d = 1 %%}", i)
	}
	return b.String()
}

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
		"filtered loop":         "{% for i in range(9000) if 'a' in messages[0].content|upper %}{% endfor %}{% for i in range(9000) if false %}{% endfor %}",
		"doubling":              big + "{% for i in range(100) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}" + strings.Repeat("{% set x = x ~ x %}", 60),
		"doubling a namespace":  "{% set ns = namespace(x='aaaa') %}{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
		"doubling a list":       "{% set x = [1,2,3,4] %}" + strings.Repeat("{% set x = x + x %}", 60),
		"doubling by replace":   "{% set x = 'aaaa' %}" + strings.Repeat("{% set x = x|replace('a', 'aaaaaaaaaaaaaaaa') %}", 60),
		"replace of nothing":    "{% set x = 'aaaa' %}" + strings.Repeat("{% set x = x|replace('', x) %}", 60),
		"replace by keyword":    "{% set x = 'aaaa' %}" + strings.Repeat("{% set x = x|replace(old='a', new=x) %}", 60),
		"doubling by join":      "{% set x = 'aaaaaaaa' %}" + strings.Repeat("{% set x = x|join(x) %}", 60),
		"join by keyword":       "{% set x = 'aaaaaaaa' %}" + strings.Repeat("{% set x = x|join(d=x) %}", 60),
		"huge output":           "{% for i in range(9000) %}" + strings.Repeat("x", 1000) + "{% endfor %}",
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

		"failing method chain":       "{{ 'a'.strip(1,2)" + strings.Repeat(".strip()", 20) + " }}",
		"long failing chain":         "{{ 'a'.strip(1,2)" + strings.Repeat(".strip()", 190) + " }}",
		"too long a chain":           "{{ 'a'" + strings.Repeat(".strip()", 220) + " }}",
		"attributes of nothing":      "{{ a" + strings.Repeat(".b", 190) + " }}",
		"failing chain in a test":    "{% for i in range(9000) %}{% if nothing" + strings.Repeat(".b.strip()", 60) + " is defined %}{% endif %}{% endfor %}",
		"failing loop condition":     "{% for i in range(9000) if nothing" + strings.Repeat(".b.strip()", 60) + " %}{% endfor %}",
		"chain in a loop":            "{% for i in range(9000) %}{% if 'a'" + strings.Repeat(".strip()", 60) + " %}{% endif %}{% endfor %}",
		"deep operations":            "{{ 1" + strings.Repeat(" + 1", 300) + " }}",
		"deep indices":               "{{ messages" + strings.Repeat("[0]", 300) + " }}",
		"many white space texts":     "{% for i in range(9000) %}{%- if i %}x{% endif -%}" + strings.Repeat(" ", 100_000) + "{%- endfor %}",
		"many comments":              "{% for i in range(9000) %}" + strings.Repeat("{##}", 20_000) + "{{ i }}{% endfor %}{{ 1 // 0 }}",
		"nested dicts of nothing":    "{% set x = {} %}" + strings.Repeat("{% set x = {'':x, 1:x, 2:x, 3:x, 4:x, 5:x, 6:x, 7:x, 8:x} %}", 10) + "{{ x }}",
		"nested lists of nothing":    "{% set x = [] %}" + strings.Repeat("{% set x = [x, x, x, x, x, x, x, x, x] %}", 30) + "{{ x }}",
		"namespace in a loop of two": "{% set n = namespace() %}" + nsFields(900) + "{% set l = [n] %}" + strings.Repeat("{% set l = l + l %}", 15) + "{% for a, b in l %}{% endfor %}",
		"list printed in an error":   "{% set c = messages[0].content %}{{ 1 is gt([" + strings.Repeat("c, ", 400) + "c]) }}",
		"replace method":             "{% set x = 'aaaaaaaa' %}" + strings.Repeat("{% set x = x.replace('a', x) %}", 60),
		"replace method, chained":    "{{ 'aaaaaaaa'" + strings.Repeat(".replace('a', 'aaaaaaaaaaaaaaaa')", 60) + " }}",
		"replace method of nothing":  "{% set x = 'aaaaaaaa' %}" + strings.Repeat("{% set x = x.replace('', x) %}", 60),
		"split of a long text":       "{% set x = '" + strings.Repeat("a", 100_000) + "' %}{% for i in range(100) %}{{ x.split('a')|length }}{% endfor %}",
		"wordwrap":                   "{{ 'a b'|wordwrap(1, wrapstring='x') }}",
		"xmlattr":                    "{{ {'a': 1}|xmlattr }}",
		"format filter":              "{{ '%s'|format('x') }}",
		"tojson":                     "{{ messages|tojson }}",
		"escaped":                    "{{ '<' is escaped }}",
		"filter by a hidden name":    "{{ [1]|map(' 0')|list }}",
		"step that overflows":        "{% for i in range(9) %}{% endfor %}{{ 'abc'[1::9223372036854775807] }}{{ range(1, 9223372036854775807, 9223372036854775806)|length }}{{ 1 // 0 }}",
		"messages assigned":          "{% set messages[0].content = 'x' %}",
		"attribute of a message":     "{% for m in messages %}{% set m.content = 'x' %}{% endfor %}",
		"text and nothing":           "{{ 'a' + nothing }}",
		"text and number":            "{{ 'a' + 1 }}",
		"loop over a number":         "{% for i in 1 %}{% endfor %}",
		"pairs of a dict":            "{% for a, b in {'a': 1} %}{% endfor %}",
		"unknown method":             "{{ 'a'.join(['b']) }}",
		"call of a text":             "{{ 'a'() }}",
		"call of an attribute":       "{{ (messages[0].role)() }}",
		"loop in a comparison":       "{% for i in [1] %}{{ loop == loop }}{% endfor %}",
		"long error":                 "{{ raise_exception" + strings.Repeat("x", 50_000) + "() }}",
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
			assert.Less(t, time.Since(start), patience)
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(256<<20), "bytes allocated")
			if err != nil {
				assert.Less(t, len(err.Error()), 2000, "length of the error")
			}
		})
	}
}

// Texts that could make the lexer or the parser slow.
func TestHostileSources(t *testing.T) {
	size := maxTemplate
	if testing.Short() {
		size /= 32
	}
	for _, unit := range []string{
		"{", "{{", "{%", "{#", "{##}", "{{ 1 }}", "{{ '", "{{ \"", "{% raw %}", "{% raw %}x{% endraw %}", "{% if a %}", "{% if a %}{% endif %}",
		"{% else %}", "{% elif a %}", "{% for a in b %}", "{% set a = 1 %}", "{% set a %}", "{{ (", "{{ [", "{{ a.", "{{ a|", "{{ a|b(", "-%}", "}}", " \n", "\n{%- ",
		"{{ not ", "{{ - ", "{{ a if ", "{% comment %}", "{% block a %}", "{% macro a() %}", "\\", "{{ '\\", "{% if a %}{% else %}", "{{ a[", "{{ {", "é{{ 'é' }}",
	} {
		for _, text := range []string{
			strings.Repeat(unit, size/len(unit)),
			"{{ " + strings.Repeat(unit, size/len(unit)-10) + " }}",
			"{% if a %}" + strings.Repeat(unit, size/len(unit)-20) + "{% endif %}",
			"{% for a in [1,2,3] %}" + strings.Repeat(unit, size/len(unit)-20) + "{% endfor %}",
		} {
			start := time.Now()
			tmpl, err := New(text, "", "")
			if err == nil {
				_, err = tmpl.Render([]Message{{"user", "hello"}}, true)
			}
			assert.Less(t, time.Since(start), patience, "%.60q", text)
			if err != nil {
				assert.Less(t, len(err.Error()), 2000, "length of the error")
			}
		}
	}
}

// What is charged covers what is done, also for long contents.
func TestHostileUseOfLongContents(t *testing.T) {
	content := strings.Repeat("Aa b", 25_000)
	if testing.Short() {
		content = content[:10_000]
	}
	for _, text := range []string{
		"{% set c = messages[0].content %}{% for i in range(9000) %}{% if OP %}{% endif %}{% endfor %}",
		"{% set c = messages[0].content %}{% for i in range(9000) if OP %}{% endfor %}",
	} {
		for _, op := range []string{
			"c.isupper()", "c.islower()", "c.isspace()", "c.isdigit()", "c.title()", "c.capitalize()", "c.lower()", "c.strip('Aab ')", "c.split('a')", "c.split()",
			"c.replace('a', 'b')", "c.startswith(c)", "c|upper", "c|title", "c|trim", "c|length", "c|first", "c|list", "c|reverse", "c[::2]", "c[5]", "c ~ c", "c == c ~ ''",
			"c in c", "'zz' in c", "c is upper", "[c, c]|join(c)", "c|int", "c|float", "messages|map(attribute='content')|list", "messages|string", "messages == messages",
			"[c] is ne([c])", "messages|selectattr('content', 'in', c)|list", "messages|map('upper')|list", "messages[0].items()|string", "loop.cycle(c, c)", "c < c",
		} {
			tmpl, err := New(strings.Replace(text, "OP", op, 1), "", "")
			require.NoError(t, err, op)
			start := time.Now()
			_, err = tmpl.Render([]Message{{"user", content}}, true)
			var limit *LimitError
			if !strings.HasPrefix(op, "loop") || !strings.Contains(text, " if OP") {
				assert.ErrorAs(t, err, &limit, op)
			}
			assert.Less(t, time.Since(start), patience, op)
		}
	}
}

func TestLimitErrors(t *testing.T) {
	for text, want := range map[string]LimitError{
		strings.Repeat("a", maxTemplate+1):                                          {"bytes of text", maxTemplate, 0},
		"\n{{ " + strings.Repeat("(", 65) + "1" + strings.Repeat(")", 65) + " }}":   {"nested brackets", maxNesting, 2},
		strings.Repeat("{% if 1 %}", 65) + strings.Repeat("{% endif %}", 65):        {"nested blocks", maxNesting, 1},
		"{{ [" + strings.Repeat("1,", 600) + "] }}":                                 {"tokens in a tag", maxTagTokens, 1},
		"{{ 'a'" + strings.Repeat(".strip()", 220) + " }}":                          {"nested operations", maxOperations, 1},
		"{% if 1 %}\n{% set a = 1" + strings.Repeat(" ~ 1", 220) + " %}{% endif %}": {"nested operations", maxOperations, 2},
		"{% for i in 1" + strings.Repeat(" ~ 1", 220) + " %}{% endfor %}":           {"nested operations", maxOperations, 1},
		"{% for i in a if i[" + strings.Repeat(" 1 ~", 220) + " 1] %}{% endfor %}":  {"nested operations", maxOperations, 1},
	} {
		_, err := New(text, "", "")
		var limit *LimitError
		if assert.ErrorAs(t, err, &limit, "%.40q", text) {
			assert.Equal(t, want, *limit)
		}
	}
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
		"{{ range(3)|join(',') }}":                                                                                            "0,1,2",
		"{% for i in range(5, 0, -2) %}{{ i }}{% endfor %}":                                                                   "531",
		"{% for i in range(9) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}":                                     "012",
		"{% for i in range(4) %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}":                                  "023",
		"{% for i in [] %}{% else %}none{% endfor %}":                                                                         "none",
		"{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}":                                                        "a1",
		"{% set ns = namespace(n=0) %}{% for i in [1,2] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}":                    "3",
		"{{ messages|selectattr('role', 'equalto', 'user')|list|length }}":                                                    "1",
		"{{ '  x '|trim }}{{ 'xxa'.lstrip('x') }}{{ 'a,b'.split(',')[1] }}":                                                   "xab",
		"{{ undefined_name }}{{ messages[0].nothing }}{{ '' if tools else 'no' }}":                                            "no",
		"{% raw %}{{ x }}{% endraw %}":                                                                                        "{{ x }}",
		"{{ 'a-b-c'.split('-', 1)[1] }}{{ 'a  b'.split()|join('+') }}{{ ''.split('x')|length }}":                              "b-ca+b1",
		"{{ 'banana'.replace('an', 'o') }}{{ 'banana'|replace('b', '') }}{{ 'ab'.replace('', '.') }}":                         "booaanana.a.b.",
		"{{ 'abc'[::-1] }}{{ 'abcdef'[4:1:-2] }}{{ [1,2,3][-2:]|join }}{{ 'abc'[5:] }}{{ 'é'[0] }}{{ 'abc'[-9:2] }}":          "cbaec23éab",
		"{{ [1,2,3]|reverse|join }}{{ ['b','a']|first }}{{ 'xyz'|last }}{{ [3,1]|last }}":                                     "321bz1",
		"{{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 1.5 + 1 }} {{ not 1 }} {{ 'a' < 'b' }}":                                    "-4 2 3.5 2.5 False True",
		"{{ 'x' if 'a' in {'a': 1} and 2 in [1, 2] and 'b' not in 'acd' }}{{ {'a': 1, 'a': 2}.a }}{{ {'a': 1}.get('b', 7) }}": "x27",
		"{{ 'abc'.startswith(('x', 'a')) }}{{ 'abc'.endswith('bc') }}{{ 'abc'.removeprefix('a').removesuffix('c') }}":         "TrueTrueb",
		"{{ nothing|default('d') }}{{ ''|default('e', true) }}{{ ''|default('f') }}":                                          "de",
		"{{ messages|map(attribute='role')|join(',') }}{{ ['a', 'b']|map('upper')|join }}{{ [1, 0, 2]|reject|list|length }}":  "userAB1",
		"{% for c in 'né' %}[{{ c }}]{% endfor %}{% for i in range(4) %}{{ loop.cycle('a', 'b') }}{% endfor %}":               "[n][é]abab",
		"{% for a, b in [(1, 2), (3, 4)] %}{{ a }}{{ b }}{% endfor %}":                                                        "1234",
		"{% set x = 1 if false else 2 %}{{ x }}{{ 'y' if false }}{{ range is callable }}":                                     "2True",
		"{{ 'a'" + strings.Repeat(".strip()", 90) + " }}":                                                                     "a",
		"{{ messages[0].content.strip().upper().lower().title().replace('H', 'J').split('l')[0] }}":                           "Je",
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
	f.Add("{{ 'a'.strip(1,2)"+strings.Repeat(".strip()", 20)+" }}", "x")
	f.Add("{% set ns = namespace(a={'b': [1, 2.5]}) %}{% set ns.c = ns.a.b|map('string')|join(messages[0].content) %}{{ ns.c is defined and ns.c.split('1', 1)[0] }}", "x")
	f.Add("{{ messages[0]['content'][1:-1:2] | replace('a', 'b') }}", "banana")
	f.Fuzz(func(t *testing.T, text, content string) {
		start := time.Now()
		defer func() {
			if took := time.Since(start); took > patience {
				t.Fatalf("took %v", took)
			}
		}()
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
