// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"time"

	"github.com/graphkv/graphkv"
)

// Limits bound what clients can ask for. A zero field stands for its default, see
// [DefaultLimits].
type Limits struct {
	BodyBytes     int64 // of a request
	Documents     int   // of one request
	DocumentBytes int   // title and text of one document
	Segments      int   // of one request: documents, messages of a conversation, segments, nodes of a plan
	PromptTokens  int   // of all nodes of one request's plan together
	Explained     int   // numbers of one explanation, see [graphkv.Engine.ExplanationSize]; a trace that would have more explains the query and the answer alone
	MaxTokens     int   // of one answer; also what a conversation's answer gets when the client does not say

	StoreDocuments int   // that one namespace has registered
	StoreBytes     int64 // of them together

	Concurrent        int // requests at work
	Queue             int // requests that wait until they may begin
	NamespaceRequests int // of one namespace, at work or waiting

	QueueTime   time.Duration // for which a request waits at most
	RequestTime time.Duration // from when a request begins until its answer is complete
	BodyTime    time.Duration // in which a request's body has to arrive
	WriteTime   time.Duration // in which a client has to take what is sent to it at a time
}

// DefaultLimits returns the limits of a server that is not told others.
func DefaultLimits() Limits {
	return Limits{
		BodyBytes:         8 << 20,
		Documents:         256,
		DocumentBytes:     1 << 20,
		Segments:          1024,
		PromptTokens:      graphkv.DefaultPromptTokens,
		Explained:         2 << 20,
		MaxTokens:         4096,
		StoreDocuments:    100_000,
		StoreBytes:        256 << 20,
		Concurrent:        64,
		Queue:             256,
		NamespaceRequests: 64 + 256,
		QueueTime:         time.Minute,
		RequestTime:       10 * time.Minute,
		BodyTime:          30 * time.Second,
		WriteTime:         30 * time.Second,
	}
}

// complete fills in defaults and refuses what makes no sense.
func (l Limits) complete() (Limits, error) {
	d := DefaultLimits()
	err := error(nil)
	number := func(name string, v *int, standard int) {
		if *v == 0 {
			*v = standard
		}
		if *v < 0 && err == nil {
			err = fmt.Errorf("server: limit %s is %d, want at least 1", name, *v)
		}
	}
	bytes := func(name string, v *int64, standard int64) {
		if *v == 0 {
			*v = standard
		}
		if *v < 0 && err == nil {
			err = fmt.Errorf("server: limit %s is %d bytes, want at least 1", name, *v)
		}
	}
	span := func(name string, v *time.Duration, standard time.Duration) {
		if *v == 0 {
			*v = standard
		}
		if *v < 0 && err == nil {
			err = fmt.Errorf("server: limit %s is %v, want more than 0", name, *v)
		}
	}
	bytes("BodyBytes", &l.BodyBytes, d.BodyBytes)
	number("Documents", &l.Documents, d.Documents)
	number("DocumentBytes", &l.DocumentBytes, d.DocumentBytes)
	number("Segments", &l.Segments, d.Segments)
	number("PromptTokens", &l.PromptTokens, d.PromptTokens)
	number("Explained", &l.Explained, d.Explained)
	number("MaxTokens", &l.MaxTokens, d.MaxTokens)
	number("StoreDocuments", &l.StoreDocuments, d.StoreDocuments)
	bytes("StoreBytes", &l.StoreBytes, d.StoreBytes)
	number("Concurrent", &l.Concurrent, d.Concurrent)
	if l.Queue < 0 {
		l.Queue = 0 // nobody waits
	} else {
		number("Queue", &l.Queue, d.Queue)
	}
	number("NamespaceRequests", &l.NamespaceRequests, l.Concurrent+l.Queue)
	span("QueueTime", &l.QueueTime, d.QueueTime)
	span("RequestTime", &l.RequestTime, d.RequestTime)
	span("BodyTime", &l.BodyTime, d.BodyTime)
	span("WriteTime", &l.WriteTime, d.WriteTime)
	return l, err
}

// edges is how many a plan may have: of the most segments, no strategy makes more but
// those of many rounds and of trees.
func (l *Limits) edges() int {
	n := min(l.Segments, 1<<14) // from there on, package posenc's limit is the lower one
	return 2 * n * n
}
