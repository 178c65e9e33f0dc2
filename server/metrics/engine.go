// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/kvcache"
)

// engineCollector reads an engine's own counters when it is asked, so that none is kept twice.
type engineCollector struct {
	stats func() graphkv.Stats
	load  func() (running, waiting int)
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("graphkv_"+name, help, labels, nil)
}

var (
	runningDesc = desc("requests_running", "Requests that are at work.")
	waitingDesc = desc("requests_waiting", "Requests that wait until they may begin.")
	passesDesc  = desc("forward_passes_total", "Forward passes of the model; concurrent requests share them.")
	tokensDesc  = desc("forward_tokens_total", "Tokens that went through the model, of prompts and answers.")
	lookupsDesc = desc("segment_lookups_total", "Segments that requests looked for: found, missing, or joined while another request encoded them.", "result")
)

// tierFigure is one figure of every tier.
type tierFigure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(kvcache.Metrics) float64
}

func tierCounter(name, help string, of func(kvcache.Metrics) float64) tierFigure {
	return tierFigure{desc("cache_"+name+"_total", help, "tier"), prometheus.CounterValue, of}
}

func tierGauge(name, help string, of func(kvcache.Metrics) float64) tierFigure {
	return tierFigure{desc("cache_"+name, help, "tier"), prometheus.GaugeValue, of}
}

var tierFigures = []tierFigure{
	tierCounter("hits", "Lookups in a tier that found the segment.", func(m kvcache.Metrics) float64 { return float64(m.Hits) }),
	tierCounter("misses", "Lookups in a tier that did not.", func(m kvcache.Metrics) float64 { return float64(m.Misses) }),
	tierCounter("puts", "Segments that a tier took in.", func(m kvcache.Metrics) float64 { return float64(m.Puts) }),
	tierCounter("evictions", "Segments that made room.", func(m kvcache.Metrics) float64 { return float64(m.Evictions) }),
	tierCounter("rejections", "Segments too large for a tier, or refused by its policy.", func(m kvcache.Metrics) float64 { return float64(m.Rejected) }),
	tierCounter("corruptions", "Damaged segments found, and encoded again.", func(m kvcache.Metrics) float64 { return float64(m.Corrupt) }),
	tierCounter("skips", "Operations not tried because the tier was down, slow or not worth it.", func(m kvcache.Metrics) float64 { return float64(m.Skipped) }),
	tierCounter("dropped_writes", "Writes given up because a tier's queue was full.", func(m kvcache.Metrics) float64 { return float64(m.Dropped) }),
	tierCounter("read_bytes", "Bytes of segments read from a tier.", func(m kvcache.Metrics) float64 { return float64(m.ReadBytes) }),
	tierCounter("written_bytes", "Bytes of segments written to a tier.", func(m kvcache.Metrics) float64 { return float64(m.WriteBytes) }),
	tierCounter("read_seconds", "Time that lookups took which found the segment.", func(m kvcache.Metrics) float64 { return m.ReadTime.Seconds() }),
	tierCounter("write_seconds", "Time that writes took.", func(m kvcache.Metrics) float64 { return m.WriteTime.Seconds() }),
	tierGauge("entries", "Segments in a tier, as far as it knows.", func(m kvcache.Metrics) float64 { return float64(m.Entries) }),
	tierGauge("bytes", "Their size.", func(m kvcache.Metrics) float64 { return float64(m.Bytes) }),
	tierGauge("budget_bytes", "What a tier may take; 0: it has no bound of its own.", func(m kvcache.Metrics) float64 { return float64(m.Budget) }),
	tierGauge("pinned_bytes", "Size of the segments that requests hold.", func(m kvcache.Metrics) float64 { return float64(m.PinnedBytes) }),
	tierGauge("orphaned_bytes", "Size of those that are held and no longer found; resident on top of the budget.", func(m kvcache.Metrics) float64 { return float64(m.OrphanedBytes) }),
	tierGauge("queued_writes", "Segments that wait to be written to a tier.", func(m kvcache.Metrics) float64 { return float64(m.Queued) }),
	tierGauge("queued_bytes", "Their size.", func(m kvcache.Metrics) float64 { return float64(m.QueuedBytes) }),
	tierGauge("up", "1 if a tier is in use, 0 while it is out of use because it failed.", func(m kvcache.Metrics) float64 {
		if m.Down {
			return 0
		}
		return 1
	}),
}

// Describe implements [prometheus.Collector].
func (c *engineCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{runningDesc, waitingDesc, passesDesc, tokensDesc, lookupsDesc} {
		ch <- d
	}
	for _, f := range tierFigures {
		ch <- f.desc
	}
}

// Collect implements [prometheus.Collector].
func (c *engineCollector) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	s := c.stats()
	running, waiting := c.load()
	send(runningDesc, prometheus.GaugeValue, float64(running))
	send(waitingDesc, prometheus.GaugeValue, float64(waiting))
	send(passesDesc, prometheus.CounterValue, float64(s.Passes))
	send(tokensDesc, prometheus.CounterValue, float64(s.Tokens))
	send(lookupsDesc, prometheus.CounterValue, float64(s.Cache.Hits), "hit")
	send(lookupsDesc, prometheus.CounterValue, float64(s.Cache.Misses), "miss")
	send(lookupsDesc, prometheus.CounterValue, float64(s.Cache.Waits), "joined")
	count := make(map[string]int)
	for _, t := range s.Cache.Tiers {
		name := t.Tier
		if count[t.Tier]++; count[t.Tier] > 1 { // two servers, say
			name = fmt.Sprintf("%s-%d", t.Tier, count[t.Tier])
		}
		for _, f := range tierFigures {
			send(f.desc, f.kind, f.of(t), name)
		}
	}
}
