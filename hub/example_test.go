// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package hub_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/graphkv/graphkv/hub"
)

func ExampleLocate() {
	dir, err := os.MkdirTemp("", "models")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	opts := hub.Options{Dir: dir}

	_, err = hub.Locate(context.Background(), "hf:owner/repo/tiny.gguf", opts)
	fmt.Println(errors.Is(err, hub.ErrNotCached))

	file := filepath.Join(dir, "mine.gguf")
	if err := os.WriteFile(file, []byte("GGUF"), 0o644); err != nil {
		fmt.Println(err)
		return
	}
	path, err := hub.Locate(context.Background(), file, opts)
	fmt.Println(path == file, err)
	// Output:
	// true
	// true <nil>
}
