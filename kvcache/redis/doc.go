// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package redis keeps KVs on Redis or Valkey, where machines share them.
//
// # Servers
//
// [Open] takes the URLs of go-redis and connects to a single server, to the master that Sentinels name, or to a Cluster:
//
//	redis://user:password@host:6379/0                                             a server, database 0
//	rediss://host:6380                                                            the same over TLS
//	unix:///run/redis.sock?db=0                                                   the same over a socket
//	redis://host:26379?master_name=mymaster&addr=host2:26379                      Sentinels; their own user and password stand before
//	                                                                              the @, those of the servers in &username=…&password=…
//	redis://user:password@host:6379?addr=host2:6379&addr=host3:6379               a Cluster, of which these are some nodes
//	redis://user:password@host:6379?cluster=true                                  a Cluster behind one address
//
// Further parameters are those of go-redis: dial_timeout, read_timeout, write_timeout, pool_size, client_name, skip_verify (TLS without a
// check of the certificate; not for a Cluster) and so on. Characters of a user or a password that mean something in a URL must be
// percent-encoded. What is in a URL is never repeated in an error or an event, addresses excepted. Redis 6.2 or later, or any Valkey.
//
// # Values
//
// A node is a header and chunks, strings that share a hash tag, so that a Cluster keeps them together:
//
//	graphkv:1:{<key in hex>}                                the header: key, model, shape, sizes, a checksum of every layer and of itself
//	graphkv:1:{<key in hex>}:<generation in hex>:<number>   chunks: the layers one after the other, each cut after every MiB
//
// The number in front is the version of the format: versions do not see each other's values.
//
// Every Put makes up a generation of its own, writes its chunks and, when all of them are there, the header that names them. Whoever reads a
// header therefore finds all chunks of that one write: it never sees half of a node, nor parts of two. The chunks of a write that broke off
// are found by nobody, and expire.
//
// Everything has a time to live. A hit that finds less than half of it left makes it whole again, so what is used stays. Chunks live a
// little longer than their header, and those that a Put replaced still live for [Options.Timeout], the longest that a reader who has their
// header can take. A node of which the server evicted a chunk is a miss, and the rest of it is removed.
//
// # Reading
//
// Chunks are read from the socket straight into the memory of the KV that the caller gets, in order of layers, a few MiB at a time, of which
// two are under way at any time: while one is checked, the next is coming. [Store.Stream] hands layers out as they pass their check, so that a
// model computes with the first while the last are being fetched; Get waits for all. A chunk that is not as long as it must be, a layer whose
// CRC-32C is not the header's, a header whose own is wrong or that belongs to another key: the node is removed, counted, reported, and an
// error. A CRC detects every error of up to 32 adjacent bits, so one flipped bit is never served.
//
// # Failing
//
// Every exchange with a server is bounded by dial, write and read time-outs and is not retried, so a dead server costs one of them;
// a whole operation, however many exchanges, is bounded by [Options.Timeout]. It is for the caller to stop asking after that until the
// server is back, as [kvcache.Tiered] does by itself and others can by [Store.Probe]. A full server (maxmemory without eviction) refuses Put with [ErrFull] and goes on answering.
package redis
