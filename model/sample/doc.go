// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package sample chooses the next token from logits and turns the tokens' bytes into text as they come.
//
// A [Sampler] filters and draws in the order of llama.cpp's default chain: top-k, top-p, min-p, temperature, draw. Temperature comes
// last, so top-p and min-p see the model's own probabilities and what they keep does not depend on the temperature; in engines that
// divide by it first (vLLM, Hugging Face's transformers) a high temperature lets more tokens through. Probabilities are computed in
// float64.
//
// A [Stream] holds text back while it may still turn out to be part of a stop string or of an unfinished character.
package sample
