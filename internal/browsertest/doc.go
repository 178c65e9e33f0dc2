// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package browsertest tests the server's page in a headless browser. It is a module of its own, so that the library's users do not get
// the browser's driver.
package browsertest
