// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package chat

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// rendering is one case made by testdata/generate.py with Python's jinja2.
type rendering struct {
	Template string
	Name     string
	Messages []Message
	Add      bool
	Text     string
	Raises   string
}

func renderings(t testing.TB) []rendering {
	data, err := os.ReadFile("testdata/renderings.json")
	require.NoError(t, err)
	var cases []rendering
	require.NoError(t, json.Unmarshal(data, &cases))
	require.NotEmpty(t, cases)
	return cases
}

var loaded sync.Map // name → *Template

func load(t testing.TB, name string) *Template {
	t.Helper()
	if tmpl, ok := loaded.Load(name); ok {
		return tmpl.(*Template)
	}
	tmpl, err := New(templateText(t, name), "<|begin|>", "<|end|>")
	require.NoError(t, err)
	loaded.Store(name, tmpl)
	return tmpl
}

func templateText(t testing.TB, name string) string {
	data, err := os.ReadFile(filepath.Join("testdata/templates", name))
	require.NoError(t, err)
	return string(data)
}

func TestRenderEqualsJinja2(t *testing.T) {
	for _, c := range renderings(t) {
		tmpl := load(t, c.Template)
		got, err := tmpl.Render(c.Messages, c.Add)
		if c.Raises != "" {
			var raised *RaisedError
			if assert.ErrorAs(t, err, &raised, "%s %s", c.Template, c.Name) {
				assert.Equal(t, c.Raises, raised.Message)
			}
			continue
		}
		if assert.NoError(t, err, "%s %s", c.Template, c.Name) {
			assert.Equal(t, c.Text, got, "%s %s", c.Template, c.Name)
		}
	}
}

func TestPiecesOfReferences(t *testing.T) {
	for _, c := range renderings(t) {
		if c.Raises != "" {
			continue
		}
		pieces, err := load(t, c.Template).Pieces(c.Messages, c.Add)
		if !assert.NoError(t, err, "%s %s", c.Template, c.Name) {
			continue
		}
		var text strings.Builder
		var contents []string
		for i, p := range pieces {
			assert.NotEmpty(t, p.Text)
			text.WriteString(p.Text)
			if p.Special {
				assert.False(t, i > 0 && pieces[i-1].Special, "two template pieces in a row")
				assert.Zero(t, p.Message)
			} else {
				contents = append(contents, p.Text)
				assert.Equal(t, strings.TrimFunc(c.Messages[p.Message-1].Content, isSpace), strings.TrimFunc(p.Text, isSpace))
			}
		}
		assert.Equal(t, c.Text, text.String(), "%s %s", c.Template, c.Name)
		var want []string
		for _, m := range c.Messages {
			content := m.Content
			switch c.Template {
			case "llama3.jinja", "tools.jinja":
				content = strings.TrimFunc(content, isSpace)
			case "strict.jinja":
				if m.Role != "user" {
					content = strings.TrimFunc(content, isSpace)
				}
			}
			if c.Template == "thinking.jinja" {
				if m.Role == "assistant" {
					content = strings.TrimLeft(content, "\n")
				} else if m.Role == "system" {
					continue
				}
			}
			if content != "" {
				want = append(want, content)
			}
		}
		assert.Equal(t, want, contents, "%s %s", c.Template, c.Name)
	}
}

func TestPiecesMarkContents(t *testing.T) {
	pieces, err := load(t, "llama3.jinja").Pieces([]Message{{"user", "  <|eot_id|> hi \n"}}, true)
	require.NoError(t, err)
	assert.Equal(t, []Piece{
		{"<|begin|><|start_header_id|>user<|end_header_id|>\n\n", true, 0},
		{"<|eot_id|> hi", false, 1},
		{"<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", true, 0},
	}, pieces)
}

func TestPiecesRefusesWhatItCannotTellApart(t *testing.T) {
	for _, text := range []string{
		"{% for m in messages %}{{ m.content|upper }}{% endfor %}",
		"{% for m in messages %}{{ m.content|length }}{% endfor %}",
		"{{ messages[0].content[1:] }}",
		"{{ messages[0].content|replace('a', 'b') }}",
		"{% if messages[0].content == 'banana' %}yes{% else %}no{% endif %}",
	} {
		tmpl, err := New(text, "", "")
		require.NoError(t, err)
		_, err = tmpl.Pieces([]Message{{"user", "banana"}}, false)
		assert.ErrorIs(t, err, ErrOpaque, text)
	}
	// A template's own "mark…" is no mark.
	tmpl, err := New("mark markmark{{ messages[0].content }}markABCDEFGHIJKLMNOPQRSTUVWXYZ mark", "", "")
	require.NoError(t, err)
	pieces, err := tmpl.Pieces([]Message{{"user", "mark"}}, false)
	require.NoError(t, err)
	assert.Equal(t, []Piece{{"mark markmark", true, 0}, {"mark", false, 1}, {"markABCDEFGHIJKLMNOPQRSTUVWXYZ mark", true, 0}}, pieces)
}

func TestPiecesProperty(t *testing.T) {
	templates := map[string]*Template{}
	for _, name := range []string{"smollm2.jinja", "llama3.jinja", "qwen2.jinja", "lines.jinja", "tools.jinja"} {
		templates[name] = load(t, name)
	}
	names := []string{"smollm2.jinja", "llama3.jinja", "qwen2.jinja", "lines.jinja", "tools.jinja"}
	rapid.Check(t, func(t *rapid.T) {
		tmpl := templates[rapid.SampledFrom(names).Draw(t, "template")]
		n := rapid.IntRange(1, 6).Draw(t, "messages")
		msgs := make([]Message, n)
		for i := range msgs {
			msgs[i] = Message{
				Role:    rapid.SampledFrom([]string{"system", "user", "assistant"}).Draw(t, "role"),
				Content: rapid.OneOf(rapid.String(), rapid.StringMatching(`[ \n\t]*(<\|im_end\|>|\{\{|mark)?[ \n\t]*`)).Draw(t, "content"),
			}
		}
		add := rapid.Bool().Draw(t, "add")
		plain, err := tmpl.Render(msgs, add)
		if err != nil {
			t.Fatal(err)
		}
		pieces, err := tmpl.Pieces(msgs, add)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for _, p := range pieces {
			text.WriteString(p.Text)
			if p.Special && strings.Contains(p.Text, "{{") {
				t.Fatalf("content in a template piece %q", p.Text)
			}
		}
		if text.String() != plain {
			t.Fatalf("%q != %q", text.String(), plain)
		}
	})
}

func TestWrap(t *testing.T) {
	for _, name := range []string{"smollm2.jinja", "llama3.jinja", "qwen2.jinja", "strict.jinja", "tools.jinja", "thinking.jinja", "lines.jinja"} {
		for _, system := range []string{"", "Be <|im_end|> brief."} {
			tmpl := load(t, name)
			before, after, err := tmpl.Wrap(system)
			if name == "thinking.jinja" && system != "" {
				// This template drops a leading system message; nothing of it may show.
				require.NoError(t, err)
				system = ""
			}
			require.NoError(t, err, name)
			const question = "Which one?"
			msgs := []Message{{"user", question}}
			if system != "" {
				msgs = []Message{{"system", system}, {"user", question}}
			}
			want, err := tmpl.Render(msgs, true)
			require.NoError(t, err)
			var text strings.Builder
			for _, p := range before {
				text.WriteString(p.Text)
				if p.Special {
					assert.NotContains(t, p.Text, "brief", "the system message is not the template's")
				}
			}
			text.WriteString(question)
			for _, p := range after {
				text.WriteString(p.Text)
			}
			assert.Equal(t, want, text.String(), name)
		}
	}
}

func TestWrapErrors(t *testing.T) {
	for text, part := range map[string]string{
		"{{ messages[-1].content }}{{ messages[-1].content }}": "written twice",
		"nothing": "not written",
	} {
		tmpl, err := New(text, "", "")
		require.NoError(t, err)
		_, _, err = tmpl.Wrap("")
		assert.ErrorIs(t, err, ErrOpaque)
		assert.ErrorContains(t, err, part)
	}
}

func TestMessageErrors(t *testing.T) {
	tmpl := load(t, "smollm2.jinja")
	for _, c := range []struct {
		msgs []Message
		want string
	}{
		{nil, "no messages"},
		{[]Message{{"", "x"}}, "message 0 has no role"},
		{[]Message{{"user", "x"}, {"user<|im_end|>", "x"}}, `role "user<|im_end|>" of message 1`},
		{[]Message{{strings.Repeat("a", 65), "x"}}, "has 65 bytes, limit 64"},
	} {
		_, err := tmpl.Render(c.msgs, true)
		assert.ErrorContains(t, err, c.want)
		_, err = tmpl.Pieces(c.msgs, true)
		assert.ErrorContains(t, err, c.want)
	}
}

func TestConcurrentUse(t *testing.T) {
	tmpl := load(t, "thinking.jinja")
	msgs := []Message{{"user", "a"}, {"assistant", "b"}, {"user", "c"}}
	want, err := tmpl.Render(msgs, true)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				got, err := tmpl.Render(msgs, true)
				assert.NoError(t, err)
				assert.Equal(t, want, got)
			}
		})
	}
	wg.Wait()
}

// A conversation with passages of half a megabyte is no attack.
func TestLongConversation(t *testing.T) {
	turns := 500
	if testing.Short() {
		turns = 100
	}
	for _, name := range []string{"smollm2.jinja", "llama3.jinja", "thinking.jinja", "tools.jinja"} {
		tmpl := load(t, name)
		var msgs []Message
		for range turns {
			msgs = append(msgs, Message{"user", strings.Repeat("word ", 1000)}, Message{"assistant", "ok"})
		}
		_, err := tmpl.Pieces(msgs, true)
		assert.NoError(t, err, name)
	}
}

func TestRaisedError(t *testing.T) {
	tmpl, err := New("{{ raise_exception('only ' + messages[0].role) }}", "", "")
	require.NoError(t, err)
	_, err = tmpl.Render([]Message{{"user", "x"}}, true)
	var raised *RaisedError
	require.True(t, errors.As(err, &raised))
	assert.Equal(t, "only user", raised.Message)
	assert.EqualError(t, err, "chat: the template refused the messages: only user")
}
