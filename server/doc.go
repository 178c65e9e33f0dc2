// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package server answers HTTP requests with a graphkv engine: as OpenAI's API does, with
// fields for documents and the graph that they form; in the library's own form; and as
// the server of the published method does.
//
//	POST /v1/chat/completions, /v1/completions    OpenAI's, with "documents" and "graphkv"
//	GET  /v1/models, /v1/models/{id}
//	PUT, GET, DELETE /v1/documents/{id}, GET /v1/documents
//	POST /v1/graphkv/generate, prepare, plan, explain, trace
//	GET  /v1/graphkv/strategies
//	POST /generate_vanilla, _block, _gapemp, _gapemp_appr
//
// # What a request becomes
//
// A document is a segment, and a link an edge from what is cited to what cites it. The
// system's message and the head of the first user's are the prefix; the conversation
// from there on is the query. A conversation without documents is one causal text with a
// segment for each message, and a prompt of /v1/completions one with a segment for each
// piece of 128 tokens, so that what two requests begin with in common is encoded once
// without anybody having asked for it. Special tokens are parsed in the chat template's
// own words, in the prompt of /v1/completions and in the library's prefix and query;
// nothing else that clients write ever becomes one.
//
// Fields that this server does not know are left out, as clients send many. Those that it
// knows and cannot honour, and that change what a client gets (n, tools, logprobs,
// penalties), are errors.
//
// # Who waits for whom
//
// A request takes a place before its body is read; there are a bounded number, and a
// bounded number for each namespace. Of those with a place a bounded number runs, the
// others wait, namespaces by turns, for a bounded time. What runs shares the engine's
// passes: every answer gets its next token in every pass, what has to be encoded comes
// in pieces that keep a pass short while answers grow, and namespaces take turns there
// too. A client that does not read holds its own answer up, and is cut off after
// [Limits.WriteTime]; one that goes away frees all it has within a pass.
//
// # Namespaces
//
// Registered documents, cache keys and turns belong to the namespace of the request's
// context, see [WithNamespace]. Who may use which is for the handler around this one to
// say.
//
// # Errors
//
// An error has a status, and a code by which programs can tell it from all others. Bad
// requests, large ones included, are 4xx; 429 and 503 say when to try again. A 5xx other
// than 503 is a mistake of the server's: its text is in the log, not in the response. A
// stream that fails after its first event ends with an event that has the error, and
// without [DONE].
package server
