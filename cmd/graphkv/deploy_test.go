// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/graphkv/graphkv/kvcache/redis"
	"github.com/graphkv/graphkv/server/access"
)

const deploy = "../../deploy/"

func deployed(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(deploy + name)
	require.NoError(t, err)
	return string(b)
}

// checkVariables fails if a variable is neither a setting nor known to something else.
func checkVariables(t testing.TB, names []string) {
	t.Helper()
	cmd := newServe()
	for _, name := range names {
		if !strings.HasPrefix(name, variablePrefix) || name == "GRAPHKV_CACHE" || name == keysVariable {
			continue
		}
		flag := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, variablePrefix), "_", "-"))
		require.NotNil(t, cmd.Flags().Lookup(flag), name)
		require.False(t, once[flag], name)
	}
}

// The image's settings are settings, its base images are pinned to a version that can build the module, and it does not run as root.
func TestDockerfile(t *testing.T) {
	text := deployed(t, "Dockerfile")
	text = regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(text, "")
	text = regexp.MustCompile(`\\\n\s*`).ReplaceAllString(text, "")
	env := map[string]string{}
	var froms, last []string
	var health, entry, command []string
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "FROM":
			froms, last = append(froms, strings.Fields(rest)[0]), nil
		case "ENV":
			for _, pair := range strings.Fields(rest) {
				name, value, ok := strings.Cut(pair, "=")
				require.True(t, ok, pair)
				env[name] = value
			}
		case "HEALTHCHECK":
			require.NoError(t, json.Unmarshal([]byte(rest[strings.Index(rest, "["):]), &health))
		case "ENTRYPOINT":
			require.NoError(t, json.Unmarshal([]byte(rest), &entry))
		case "CMD":
			require.NoError(t, json.Unmarshal([]byte(rest), &command))
		}
		last = append(last, line)
	}
	require.Regexp(t, `^golang:\d+\.\d+\.\d+-`, froms[0])
	goMod, err := os.ReadFile("../../go.mod")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(froms[0], "golang:"+regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(goMod))[1]+"."))
	for _, from := range froms[1:] {
		require.Regexp(t, `^(scratch|[a-z]+:\d+\.\d+.*)$`, from)
	}
	require.Equal(t, "scratch", froms[len(froms)-1])
	require.Contains(t, last, "USER 65532:65532")

	names := []string{}
	for name := range env {
		names = append(names, name)
	}
	checkVariables(t, names)
	require.NotEmpty(t, env["GRAPHKV_LISTEN"])
	require.Contains(t, last, "EXPOSE "+strings.TrimPrefix(env["GRAPHKV_LISTEN"], ":"))
	require.Equal(t, []string{"/graphkv", "serve"}, append(entry, command...))
	require.Equal(t, append(entry, command...), health[:2])
	_, _, err = settled(t, "", env, health[2:]...)
	require.NoError(t, err)
}

func TestSystemdUnit(t *testing.T) {
	unit := deployed(t, "systemd/graphkv.service")
	line := func(key string) string {
		m := regexp.MustCompile(`(?m)^` + key + `=(.*)$`).FindStringSubmatch(unit)
		require.NotNil(t, m, key)
		return m[1]
	}
	words := strings.Fields(line("ExecStart"))
	require.Equal(t, []string{"/usr/local/bin/graphkv", "serve", "--config", "/etc/graphkv/graphkv.yaml"}, words[:4])
	env := map[string]string{}
	var names []string
	for _, pair := range strings.Fields(line("Environment")) {
		name, value, _ := strings.Cut(pair, "=")
		env[name], names = value, append(names, name)
	}
	checkVariables(t, names)
	s, _, err := settled(t, deployed(t, "systemd/graphkv.yaml"), env, words[4:]...)
	require.NoError(t, err)
	stop, err := time.ParseDuration(line("TimeoutStopSec"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, stop, s.drainTime+closing)
}

// closing is what a server takes at most from the last answer to its exit: the engine's writes, and the farewell.
const closing = 10*time.Second + farewell

// object is what the tests look at in a Kubernetes object.
type object struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Strings  map[string]string `yaml:"stringData"`
	Spec     struct {
		Replicas    int
		ServiceName string `yaml:"serviceName"`
		Selector    yaml.Node
		Ports       []struct {
			Port   int
			Target string `yaml:"targetPort"`
		}
		Template struct {
			Metadata struct {
				Labels      map[string]string
				Annotations map[string]string
			}
			Spec struct {
				Grace        int  `yaml:"terminationGracePeriodSeconds"`
				ServiceLinks bool `yaml:"enableServiceLinks"`
				Containers   []struct {
					Args []string
					Env  []struct {
						Name, Value string
						From        struct {
							Secret struct{ Name, Key string } `yaml:"secretKeyRef"`
						} `yaml:"valueFrom"`
					}
					Ports []struct {
						Name string
						Port int `yaml:"containerPort"`
					}
					Startup, Readiness, Liveness probeSpec
					Lifecycle                    struct {
						PreStop struct{ Sleep struct{ Seconds int } } `yaml:"preStop"`
					}
					Mounts []struct {
						Name, SubPath string
						Path          string `yaml:"mountPath"`
					} `yaml:"volumeMounts"`
				}
				Volumes []struct {
					Name      string
					ConfigMap struct{ Name string } `yaml:"configMap"`
					Secret    struct {
						Name string `yaml:"secretName"`
					}
				}
			}
		}
	}
}

type probeSpec struct {
	HTTP struct{ Path, Port string } `yaml:"httpGet"`
}

func objects(t testing.TB, name string) map[string]object {
	t.Helper()
	all := map[string]object{}
	text := strings.NewReplacer("startupProbe:", "startup:", "readinessProbe:", "readiness:", "livenessProbe:", "liveness:").Replace(deployed(t, name))
	for d := yaml.NewDecoder(strings.NewReader(text)); ; {
		var o object
		if err := d.Decode(&o); err != nil {
			require.EqualError(t, err, "EOF")
			return all
		}
		require.NotEmpty(t, o.Metadata.Name)
		all[o.Kind+"/"+o.Metadata.Name] = o
	}
}

// The parts of the example fit one another and the program: settings, ports, probes, secrets and times.
func TestKubernetesExample(t *testing.T) {
	all, below := objects(t, "kubernetes/graphkv.yaml"), objects(t, "kubernetes/redis.yaml")
	deployment := all["Deployment/graphkv"]
	require.Equal(t, 2, deployment.Spec.Replicas)
	pod := deployment.Spec.Template.Spec
	require.False(t, pod.ServiceLinks)
	c := pod.Containers[0]

	env, names := map[string]string{}, []string{}
	for _, v := range c.Env {
		env[v.Name], names = v.Value, append(names, v.Name)
		if v.From.Secret.Name != "" {
			require.NotEmpty(t, below["Secret/"+v.From.Secret.Name].Strings[v.From.Secret.Key])
		}
	}
	checkVariables(t, names)
	require.Equal(t, []string{"serve", "--config", "/etc/graphkv/graphkv.yaml"}, c.Args)
	s, _, err := settled(t, all["ConfigMap/graphkv"].Data["graphkv.yaml"], env)
	require.NoError(t, err)

	// With what the files have in place of secrets, nothing starts.
	_, err = access.ParseKeys(all["Secret/graphkv-keys"].Strings["keys"], "keys")
	require.Error(t, err)
	password := below["Secret/graphkv-redis"].Strings["password"]
	_, err = redis.Open(t.Context(), strings.ReplaceAll(s.redis, "$(REDIS_PASSWORD)", password), redis.Options{})
	require.Error(t, err)
	store, err := redis.Open(t.Context(), strings.ReplaceAll(s.redis, "$(REDIS_PASSWORD)", "0123456789abcdef"), redis.Options{})
	require.NoError(t, err)
	require.NoError(t, store.Close())
	require.Contains(t, s.redis, "@"+below["Service/graphkv-redis"].Metadata.Name+":6379")
	require.Equal(t, 6379, below["Service/graphkv-redis"].Spec.Ports[0].Port)
	require.Equal(t, "graphkv-redis", below["StatefulSet/graphkv-redis"].Spec.ServiceName)

	ports := map[string]string{}
	for _, p := range c.Ports {
		ports[p.Name] = fmt.Sprint(":", p.Port)
	}
	require.Equal(t, s.address, ports["http"])
	require.Equal(t, s.metricsAddress, ports["metrics"])
	require.Equal(t, s.metricsAddress, ":"+deployment.Spec.Template.Metadata.Annotations["prometheus.io/port"])
	require.Equal(t, "http", all["Service/graphkv"].Spec.Ports[0].Target)
	require.Equal(t, probeSpec{struct{ Path, Port string }{"/readyz", "metrics"}}, c.Startup)
	require.Equal(t, c.Startup, c.Readiness)
	require.Equal(t, probeSpec{struct{ Path, Port string }{"/healthz", "metrics"}}, c.Liveness)
	require.GreaterOrEqual(t, time.Duration(pod.Grace)*time.Second, time.Duration(c.Lifecycle.PreStop.Sleep.Seconds)*time.Second+s.drainTime+closing)

	volumes := map[string]bool{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
		if v.ConfigMap.Name != "" {
			require.Contains(t, all, "ConfigMap/"+v.ConfigMap.Name)
		}
		if v.Secret.Name != "" {
			require.Contains(t, all, "Secret/"+v.Secret.Name)
		}
	}
	paths := map[string]bool{}
	for _, m := range c.Mounts {
		require.True(t, volumes[m.Name], m.Name)
		paths[m.Path] = true
	}
	require.True(t, paths["/etc/graphkv/keys"] && strings.HasPrefix(s.keysFile, "/etc/graphkv/keys/"))
	require.True(t, paths["/var/cache/graphkv"])
	for _, o := range []object{deployment, below["StatefulSet/graphkv-redis"]} {
		var selector struct {
			Match map[string]string `yaml:"matchLabels"`
		}
		require.NoError(t, o.Spec.Selector.Decode(&selector))
		require.Equal(t, o.Spec.Template.Metadata.Labels, selector.Match)
	}
}
