// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/graphkv/graphkv/server"
)

// serve is the command.
type serve struct {
	tiers
	groups []flagGroup
	from   map[string]string // where settings come from

	model, modelName string
	longContext      bool
	cacheBytes       size
	noDisk           bool

	address, metricsAddress string
	tlsCert, tlsKey         string

	keysFile     string
	insecureOpen bool
	rate         float64

	limits                          server.Limits
	body, document, stored          size // also limits
	headerTime, idleTime, drainTime time.Duration

	logFormat, logLevel string
	logPrompts          bool
	otlp                string

	config             string
	printConfig, probe bool
}

func newServe() *cobra.Command {
	s := &serve{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Answer questions over HTTP",
		Long: `Answer questions over HTTP, as OpenAI's API does: /v1/chat/completions, /v1/completions
and /v1/models, with passages in "documents", and graphkv's own API below /v1/graphkv/.
At / is a page that shows what happens. /healthz says that the process lives, /readyz
that it takes requests, /metrics is for Prometheus.

Every setting below is also a variable, and a line of a YAML file (--config): --max-queue
is GRAPHKV_MAX_QUEUE, and max-queue: 64. A flag takes precedence over the environment, and
that over the file. --print-config shows what holds, and why.

Clients need an API key when there are any: in a file (--keys-file), or in the variable
GRAPHKV_API_KEYS, but not in an argument, which everybody on the machine can see. Every
line, or entry between commas, has the namespace that a key opens, and the key, of 16
characters at least, or its hash:

  acme    8Jw0rPbXkq2sUoYH3nTzLd
  globex  sha256:64 hexadecimal digits

What one namespace has stored is never found from another. Without keys the server
listens on loopback addresses only, unless it is told otherwise.

On SIGTERM or SIGINT the server stops taking requests, finishes those it has, and exits.
On SIGHUP it reads the keys and the TLS certificate again.`,
		Example: `  graphkv serve
  graphkv serve --listen :8443 --tls-cert cert.pem --tls-key key.pem --keys-file keys
  graphkv serve --config graphkv.yaml --print-config
  curl localhost:8080/v1/chat/completions --json '{"messages": [{"role": "user", "content": "Hello"}]}'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.run(cmd) },
	}
	s.flags(cmd)
	cmd.SetUsageFunc(groupedUsage(s.groups))
	return cmd
}

func (s *serve) flags(cmd *cobra.Command) {
	s.tiers.flags(cmd)
	d := server.DefaultLimits()
	s.cacheBytes, s.body, s.document, s.stored = 2<<30, size(d.BodyBytes), size(d.DocumentBytes), size(d.StoreBytes)
	f := cmd.Flags()
	f.StringVarP(&s.model, "model", "m", defaultModel, "built-in model name, hf:owner/repo/file.gguf, or a GGUF file")
	f.StringVar(&s.modelName, "model-name", "", "the model's name for clients (default: the one in the model file)")
	f.BoolVar(&s.longContext, "long-context", false, "allow positions past those the model was trained on")

	f.Var(&s.cacheBytes, "cache-bytes", "memory for encoded passages")
	f.BoolVar(&s.noDisk, "no-disk", false, "neither look for encoded passages in the folder nor keep them there")

	f.StringVar(&s.address, "listen", "127.0.0.1:8080", "address to listen on")
	f.StringVar(&s.metricsAddress, "metrics-address", "", "address for /metrics, /healthz and /readyz alone; without it they are at --listen, but /metrics only if there are no API keys")
	f.StringVar(&s.tlsCert, "tls-cert", "", "PEM file of the certificate and those that lead to its root; read again when it changes")
	f.StringVar(&s.tlsKey, "tls-key", "", "PEM file of its private key")

	f.StringVar(&s.keysFile, "keys-file", "", "file of namespaces and API keys")
	f.BoolVar(&s.insecureOpen, "insecure-open", false, "listen beyond loopback without API keys: whoever reaches the server may use it")

	f.Var(&s.body, "max-body", "of a request")
	f.IntVar(&s.limits.Documents, "max-documents", d.Documents, "of one request")
	f.Var(&s.document, "max-document-bytes", "title and text of one document")
	f.IntVar(&s.limits.Segments, "max-segments", d.Segments, "documents, messages, segments and nodes of one request")
	f.IntVar(&s.limits.PromptTokens, "max-prompt-tokens", d.PromptTokens, "of all segments of one request together")
	f.IntVar(&s.limits.Explained, "max-explained", d.Explained, "numbers of one explanation: its edges × layers × heads")
	f.IntVar(&s.limits.MaxTokens, "max-answer-tokens", d.MaxTokens, "of one answer")
	f.IntVar(&s.limits.StoreDocuments, "max-stored-documents", d.StoreDocuments, "that one namespace has registered")
	f.Var(&s.stored, "max-stored-bytes", "of those together")
	f.IntVar(&s.limits.Concurrent, "max-concurrent", d.Concurrent, "requests at work")
	f.IntVar(&s.limits.Queue, "max-queue", d.Queue, "requests that wait until they may begin; 0: none waits")
	f.IntVar(&s.limits.NamespaceRequests, "max-namespace-requests", 0, "requests of one namespace at work or waiting; 0: as many as there is room for")
	f.Float64Var(&s.rate, "namespace-rate", 0, "requests a second of one namespace in the long run; 0: any number")

	f.DurationVar(&s.headerTime, "header-timeout", 10*time.Second, "in which a request's header has to arrive")
	f.DurationVar(&s.limits.BodyTime, "body-timeout", d.BodyTime, "in which its body has to arrive")
	f.DurationVar(&s.limits.QueueTime, "queue-timeout", d.QueueTime, "for which a request waits until it may begin")
	f.DurationVar(&s.limits.RequestTime, "request-timeout", d.RequestTime, "in which an answer has to be complete")
	f.DurationVar(&s.limits.WriteTime, "write-timeout", d.WriteTime, "in which a client has to take what is sent to it at a time")
	f.DurationVar(&s.idleTime, "idle-timeout", 2*time.Minute, "for which a connection without requests is kept")
	f.DurationVar(&s.drainTime, "drain-time", 30*time.Second, "for which the server finishes answers when it is told to stop")

	f.StringVar(&s.logFormat, "log-format", "text", "text or json, on standard error")
	f.StringVar(&s.logLevel, "log-level", "info", "debug, info, warn or error")
	f.BoolVar(&s.logPrompts, "log-prompts", false, "log prompts and answers, which may be confidential")
	f.StringVar(&s.otlp, "otlp-endpoint", "", "OpenTelemetry collector that traces are sent to, such as http://localhost:4318 (default: what OTEL_EXPORTER_OTLP_ENDPOINT says, or none)")

	f.StringVar(&s.config, "config", "", "YAML file of settings")
	f.BoolVar(&s.printConfig, "print-config", false, "print the settings that hold, as such a file, and exit")
	f.BoolVar(&s.probe, "probe", false, "ask the server that runs with these settings on this machine whether it is ready, and exit with 0 if so")

	s.groups = []flagGroup{
		{"Model", []string{"model", "model-name", "long-context"}},
		{"Cache", []string{"cache-bytes", "cache-dir", "cache-budget", "no-disk", "redis", "kv-format"}},
		{"Addresses", []string{"listen", "tls-cert", "tls-key", "metrics-address"}},
		{"Access", []string{"keys-file", "insecure-open", "namespace-rate"}},
		{"Limits", []string{"max-body", "max-documents", "max-document-bytes", "max-segments", "max-prompt-tokens", "max-answer-tokens", "max-explained",
			"max-stored-documents", "max-stored-bytes", "max-concurrent", "max-queue", "max-namespace-requests"}},
		{"Times", []string{"header-timeout", "body-timeout", "queue-timeout", "request-timeout", "write-timeout", "idle-timeout", "drain-time"}},
		{"Logs and traces", []string{"log-format", "log-level", "log-prompts", "otlp-endpoint"}},
		{"Configuration", []string{"config", "print-config", "probe", "help"}},
	}
	cmd.InitDefaultHelpFlag()
}

// settle takes settings from the environment and the file, and refuses what cannot be.
func (s *serve) settle(cmd *cobra.Command, lookup func(string) (string, bool)) (err error) {
	if v, ok := lookup(variable("config")); ok && !cmd.Flags().Changed("config") {
		s.config = v
	}
	if s.from, err = configure(cmd.Flags(), lookup, s.config); err != nil {
		return err
	}
	return s.check(cmd.Flags())
}

// check refuses what cannot be.
func (s *serve) check(flags *pflag.FlagSet) error {
	var errs []error
	refuse := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	flags.VisitAll(func(f *pflag.Flag) {
		switch f.Value.Type() {
		case "duration":
			d, err := time.ParseDuration(f.Value.String())
			refuse(err != nil || d <= 0, "%s is %s, want more than 0", f.Name, f.Value)
		case "int":
			least := 1
			if f.DefValue == "0" || f.Name == "max-queue" {
				least = 0
			}
			n, err := strconv.Atoi(f.Value.String())
			refuse(err != nil || n < least, "%s is %s, want at least %d", f.Name, f.Value, least)
		}
	})
	refuse(!(s.rate >= 0 && s.rate <= 1e6), "namespace-rate is %g, want 0 to a million", s.rate)
	refuse((s.tlsCert == "") != (s.tlsKey == ""), "tls-cert and tls-key need each other")
	refuse(s.noDisk && (s.dir != "" || s.budget != 0), "no-disk leaves no use for cache-dir and cache-budget")
	refuse(s.logFormat != "text" && s.logFormat != "json", "log-format is %q, want text or json", s.logFormat)
	refuse(new(slog.Level).UnmarshalText([]byte(s.logLevel)) != nil, "log-level is %q, want debug, info, warn or error", s.logLevel)
	return errors.Join(errs...)
}

// bounds returns the limits that the settings say.
func (s *serve) bounds() server.Limits {
	l := s.limits
	l.BodyBytes, l.DocumentBytes, l.StoreBytes = int64(s.body), int(s.document), int64(s.stored)
	if l.Queue == 0 {
		l.Queue = -1 // none waits; 0 would be the default
	}
	return l
}

func (s *serve) run(cmd *cobra.Command) error {
	if err := s.settle(cmd, os.LookupEnv); err != nil {
		return err
	}
	if s.printConfig {
		return printConfig(cmd.OutOrStdout(), cmd.Flags(), s.groups, s.from)
	}
	if s.probe {
		return s.askWhetherReady(cmd.Context())
	}
	return s.serve(cmd)
}
