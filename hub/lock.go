// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"
)

// held are the paths locked by this process: some systems lock per process,
// some not at all.
var held sync.Map

// lock takes the lock file at path, waiting while another holds it. The
// system drops the lock of a process that dies. The file stays: removing it
// would let a third process lock a new file of the same name.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	wait := func() error {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s, held by another fetch: %w", path, ctx.Err())
		case <-time.After(50 * time.Millisecond):
			return nil
		}
	}
	for {
		if _, taken := held.LoadOrStore(path, true); !taken {
			break
		}
		if err := wait(); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			held.Delete(path)
		}
	}()
	// Opened only now: where locks belong to the process, closing a second
	// handle would drop the lock of the first.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		ok, err := tryLock(f)
		if ok {
			return func() {
				f.Close()
				held.Delete(path)
			}, nil
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if err := wait(); err != nil {
			f.Close()
			return nil, err
		}
	}
}
