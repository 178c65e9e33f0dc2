// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/server"
)

// settled is a server with settings from arguments, an environment and a file.
func settled(t testing.TB, file string, env map[string]string, args ...string) (*serve, *cobra.Command, error) {
	t.Helper()
	s := &serve{}
	cmd := &cobra.Command{Use: "serve"}
	s.flags(cmd)
	if file != "" {
		path := filepath.Join(t.TempDir(), "graphkv.yaml")
		require.NoError(t, os.WriteFile(path, []byte(file), 0o600))
		args = append(args, "--config", path)
	}
	require.NoError(t, cmd.ParseFlags(args))
	return s, cmd, s.settle(cmd, func(name string) (string, bool) { v, ok := env[name]; return v, ok })
}

// values are all settings.
func values(cmd *cobra.Command) map[string]string {
	m := make(map[string]string)
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !once[f.Name] {
			m[f.Name], _ = printed(f)
		}
	})
	return m
}

// others are values that are good, and not the default, of every setting.
var others = map[string][3]string{
	"model": {"a.gguf", "b.gguf", "c.gguf"}, "model-name": {"a", "yes", "8"}, "long-context": {"true", "true", "true"},
	"cache-bytes": {"1GiB", "123456789", "3GB"}, "cache-dir": {"/a", "/b", "/c d"}, "cache-budget": {"1GiB", "2GiB", "3GiB"}, "redis": {"redis://a", "redis://b", "redis://c"},
	"no-disk": {"false", "false", "false"}, "kv-format": {"f16", "bf16", "i8"},
	"listen": {":1", "127.0.0.1:2", "[::1]:3"}, "tls-cert": {"a", "b", "c"}, "tls-key": {"a", "b", "c"}, "metrics-address": {":1", ":2", ":3"},
	"keys-file": {"a", "b", "c"}, "insecure-open": {"true", "true", "true"}, "namespace-rate": {"0.5", "2", "1e3"},
	"max-body": {"1MiB", "2MiB", "3000"}, "max-documents": {"1", "2", "3"}, "max-document-bytes": {"1KiB", "2KiB", "3KiB"}, "max-segments": {"1", "2", "3"},
	"max-prompt-tokens": {"1", "2", "3"}, "max-answer-tokens": {"1", "2", "3"}, "max-explained": {"1", "2", "3"}, "max-stored-documents": {"1", "2", "3"}, "max-stored-bytes": {"1KiB", "2KiB", "3KiB"},
	"max-concurrent": {"1", "2", "3"}, "max-queue": {"0", "1", "2"}, "max-namespace-requests": {"1", "2", "3"},
	"header-timeout": {"1s", "2s", "1h0m3s"}, "body-timeout": {"1s", "2s", "3s"}, "queue-timeout": {"1s", "2s", "3s"}, "request-timeout": {"1s", "2s", "3s"},
	"write-timeout": {"1s", "2s", "3s"}, "idle-timeout": {"1s", "2s", "3s"}, "drain-time": {"1s", "2s", "300ms"},
	"log-format": {"json", "json", "json"}, "log-level": {"debug", "warn", "error"}, "log-prompts": {"true", "true", "true"},
	"otlp-endpoint": {"http://a", "http://b", "http://c:4318"},
}

// A flag takes precedence over the environment, that over the file, that over the default; and what is printed is a file that says the same.
func TestSettingsComeFromWhereTheyShould(t *testing.T) {
	_, plain, err := settled(t, "", nil)
	require.NoError(t, err)
	defaults := values(plain)
	require.Len(t, others, len(defaults), "every setting is tried")
	rapid.Check(t, func(r *rapid.T) {
		var file strings.Builder
		env, args := map[string]string{"GRAPHKV_PORT": "tcp://10.0.0.1:80", "GRAPHKV_CPU": "avx2"}, []string(nil)
		want, from := map[string]string{}, map[string]string{}
		line := 0
		for name, v := range others {
			want[name] = defaults[name]
			set := func(value, source string) {
				f := pflag.NewFlagSet("", pflag.ContinueOnError)
				s, cmd := &serve{}, &cobra.Command{}
				s.flags(cmd)
				f.AddFlagSet(cmd.Flags())
				require.NoError(t, f.Set(name, value))
				want[name], _ = printed(f.Lookup(name))
				from[name] = source
			}
			tls := strings.HasPrefix(name, "tls-") // one needs the other
			if tls || rapid.Bool().Draw(r, name+" in the file") {
				fmt.Fprintf(&file, "%s: %s\n", name, v[0])
				line++
				set(v[0], fmt.Sprintf("line %d", line))
			}
			if rapid.Bool().Draw(r, name+" in the environment") {
				env[variable(name)] = v[1]
				set(v[1], variable(name))
			}
			if rapid.Bool().Draw(r, name+" as a flag") {
				args = append(args, "--"+name+"="+v[2])
				set(v[2], "flag")
			}
		}
		s, cmd, err := settled(t, file.String(), env, args...)
		if err != nil {
			r.Fatal(err)
		}
		if got := values(cmd); fmt.Sprint(got) != fmt.Sprint(want) {
			r.Fatalf("got %v\nwant %v", got, want)
		}
		for name, where := range from {
			if !strings.HasSuffix(s.from[name], where) {
				r.Fatalf("%s comes from %s, said to come from %s", name, where, s.from[name])
			}
		}
		var out bytes.Buffer
		if err := printConfig(&out, cmd.Flags(), s.groups, s.from); err != nil {
			r.Fatal(err)
		}
		_, again, err := settled(t, out.String(), nil)
		if err != nil {
			r.Fatalf("%v in\n%s", err, out.String())
		}
		if got := values(again); fmt.Sprint(got) != fmt.Sprint(want) {
			r.Fatalf("printed and read again %v\nwant %v", got, want)
		}
	})
}

func TestWrongSettings(t *testing.T) {
	for _, c := range []struct {
		file string
		env  map[string]string
		args []string
		want []string
	}{
		{file: "listen: :1\nmax-que: 5\n", want: []string{`graphkv.yaml, line 2: there is no setting "max-que"`}},
		{file: "max_queue: 5\nredis: 7\n\nKeys-File: x", want: []string{`line 1: there is no setting "max_queue"; there is max-queue`, `line 4: there is no setting "Keys-File"; there is keys-file`}},
		{file: "config: x", want: []string{`line 1: there is no setting "config"`}},
		{file: "api-keys: x", want: []string{`line 1: there is no setting "api-keys"`}},
		{file: "max-queue: 5\nmax-queue: 6", want: []string{"line 2: max-queue is set in line 1 already"}},
		{file: "max-queue: many", want: []string{`line 1: max-queue: "many": `}},
		{file: "max-body: 5 parsecs", want: []string{`line 1: max-body: "5 parsecs": `, "is not a size"}},
		{file: "log-prompts: yes", want: []string{`line 1: log-prompts: "yes": `}},
		{file: "drain-time: 5", want: []string{`line 1: drain-time: "5": `, "missing unit"}},
		{file: "max-queue:", want: []string{"line 1: max-queue wants one value"}},
		{file: "max-queue: [1, 2]", want: []string{"line 1: max-queue wants one value"}},
		{file: "cache:\n  bytes: 5", want: []string{`line 1: there is no setting "cache"`}},
		{file: "- listen", want: []string{"line 1: want settings"}},
		{file: "listen", want: []string{"line 1: want settings"}},
		{file: "listen: [", want: []string{"graphkv.yaml: yaml: "}},
		{file: "listen: a\n---\nlisten: b", want: []string{"more than one document"}},
		{file: "a: &a {max-queue: 1}\n<<: *a", want: []string{`there is no setting "a"`, `there is no setting "<<"`}},
		{env: map[string]string{"GRAPHKV_MAX_QUEUE": "x"}, want: []string{`GRAPHKV_MAX_QUEUE: "x": `}},
		{env: map[string]string{"GRAPHKV_CONFIG": "/nowhere/at/all.yaml"}, want: []string{"/nowhere/at/all.yaml"}},
		{args: []string{"--max-concurrent", "0"}, want: []string{"max-concurrent is 0, want at least 1"}},
		{args: []string{"--max-queue", "-1"}, want: []string{"max-queue is -1, want at least 0"}},
		{args: []string{"--drain-time", "0s", "--write-timeout", "-1s"}, want: []string{"drain-time is 0s, want more than 0", "write-timeout is -1s, want more than 0"}},
		{args: []string{"--namespace-rate", "NaN"}, want: []string{"namespace-rate is NaN"}},
		{args: []string{"--tls-cert", "x"}, want: []string{"tls-cert and tls-key need each other"}},
		{args: []string{"--no-disk", "--cache-dir", "x"}, want: []string{"no-disk leaves no use for cache-dir"}},
		{args: []string{"--log-format", "xml", "--log-level", "loud"}, want: []string{`log-format is "xml"`, `log-level is "loud"`}},
	} {
		_, _, err := settled(t, c.file, c.env, c.args...)
		require.Error(t, err, c.file)
		for _, want := range c.want {
			require.ErrorContains(t, err, want)
		}
	}
	for _, file := range []string{"", "# nothing\n", "---\n", "null\n", "max-queue: 0"} {
		_, _, err := settled(t, file, nil)
		require.NoError(t, err, file)
	}
}

func TestLimitsAreThoseOfTheSettings(t *testing.T) {
	s, _, err := settled(t, "", nil)
	require.NoError(t, err)
	want := server.DefaultLimits()
	want.NamespaceRequests = 0 // by itself as many as there is room for
	require.Equal(t, want, s.bounds())
	s, _, err = settled(t, "max-queue: 0\nmax-body: 1MiB\nmax-document-bytes: 2KiB\nmax-stored-bytes: 3KiB", nil)
	require.NoError(t, err)
	want.Queue, want.BodyBytes, want.DocumentBytes, want.StoreBytes = -1, 1<<20, 2<<10, 3<<10
	require.Equal(t, want, s.bounds())
}

// Passwords are for nobody who looks at a configuration.
func TestPasswordsAreNotPrinted(t *testing.T) {
	for _, u := range []string{
		"redis://user:hunter2@cache:6379/0", "rediss://:hunter2@a:1?addr=b:2", "redis://a?master_name=m&sentinel_password=hunter2", "redis://:hunter2%@a", "http://user:hunter2@collector",
	} {
		out := mustRun(t, "", "serve", "--print-config", "--redis", u, "--otlp-endpoint", u)
		require.NotContains(t, out, "hunter2", u)
		require.Contains(t, out, "# flag")
	}
}

// Every flag is in --help, in one group, and its variable is not one that something else means something by.
func TestServeHelp(t *testing.T) {
	out := mustRun(t, "", "serve", "--help")
	cmd := newServe()
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		require.Equal(t, 1, strings.Count(out, "      --"+f.Name+" ")+strings.Count(out, ", --"+f.Name+" "), f.Name)
		require.NotContains(t, []string{"GRAPHKV_CACHE", "GRAPHKV_KV", "GRAPHKV_CPU", keysVariable, "GRAPHKV_PORT", "GRAPHKV_SERVICE_HOST", "GRAPHKV_SERVICE_PORT"}, variable(f.Name))
	})
	for line := range strings.SplitSeq(out, "\n") {
		require.LessOrEqual(t, len([]rune(line)), 112, line)
	}
	for _, title := range []string{"Model:", "Cache:", "Addresses:", "Access:", "Limits:", "Times:", "Logs and traces:", "Configuration:", "Examples:"} {
		require.Contains(t, out, "\n"+title+"\n")
	}
}

// No file ends the program, and one that is taken has only settings that there are.
func FuzzConfigFile(f *testing.F) {
	for _, s := range []string{"", "listen: :1\nmax-queue: 5", "a: &a\n  <<: *a", "listen: !!binary x", "? [a]\n: b", "\xff", "--- \n...\n---", "listen: |\n  x", "max-queue: 0x10", "{listen: a, \"no-disk\": true}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, cmd := &serve{}, &cobra.Command{}
		s.flags(cmd)
		from := make(map[string]string)
		if err := configureFrom(cmd.Flags(), text, "file", from); err != nil {
			require.True(t, strings.HasPrefix(err.Error(), "file"), err.Error())
			return
		}
		for name := range from {
			require.NotNil(t, cmd.Flags().Lookup(name))
			require.False(t, once[name])
		}
		var out bytes.Buffer
		require.NoError(t, printConfig(&out, cmd.Flags(), s.groups, from))
	})
}
