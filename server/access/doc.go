// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package access says who may call a server, and how often.
//
// # Keys
//
// An API key opens one namespace. What a namespace has stored is not found from
// another one, by design of the cache (see package kvcache), so a key is all that keeps
// tenants apart, and the code around it is small:
//
//   - Keys are random and long, so one SHA-256 is enough of a hash: there is no
//     dictionary to go through. A file may hold the hashes alone.
//   - A presented key is hashed and compared with the hashes of all keys, each in
//     constant time, without stopping at one that fits. Which key it was, how much of
//     one it shares, and whether it fits at all takes the same time to find out.
//   - A request without a key, with two, with another scheme or with a wrong key goes
//     the same way and gets the same answer, before anything of its body is read.
//
// # Rates
//
// A [Rate] bounds how often a namespace may send what costs work. How many requests of one namespace are at work or wait is
// bounded by package server ([server.Limits]), which knows when they end.
package access
