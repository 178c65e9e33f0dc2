// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/disk"
)

const (
	// folderVariable names the KV folder where no flag does.
	folderVariable = "GRAPHKV_KV"
	// defaultBudget is what a folder may take that nobody has given a budget.
	defaultBudget = 10 << 30
	budgetName    = "budget"
)

// folder is where KVs are kept on disk. It remembers its budget: else a command that says nothing about it would evict what one with a larger
// budget has put there.
type folder struct {
	cmd    *cobra.Command
	dir    string
	budget size
}

func (f *folder) flags(cmd *cobra.Command) {
	f.cmd = cmd
	cmd.Flags().StringVar(&f.dir, "cache-dir", "", "folder of encoded segments (default: $"+folderVariable+", or graphkv/kv in the user's cache folder)")
}

// budgetFlag is for commands that write.
func (f *folder) budgetFlag() {
	sizeFlag(f.cmd, &f.budget, "cache-budget", fmt.Sprintf("what the folder may take from now on, such as 50GiB (default: what it was given last, at first %v)", size(defaultBudget)))
}

// sizeFlag adds a flag whose default is said in the usage.
func sizeFlag(cmd *cobra.Command, s *size, name, usage string) {
	cmd.Flags().Var(s, name, usage)
	cmd.Flags().Lookup(name).DefValue = ""
}

// resolve makes dir the folder's path, and budget what it may take.
func (f *folder) resolve() error {
	if f.dir == "" {
		f.dir = os.Getenv(folderVariable)
	}
	if f.dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("no folder for encoded segments (give --cache-dir): %w", err)
		}
		f.dir = filepath.Join(base, "graphkv", "kv")
	}
	if f.budget != 0 {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(f.dir, budgetName))
	if errors.Is(err, fs.ErrNotExist) {
		f.budget = defaultBudget
		return nil
	}
	if err == nil {
		err = f.budget.Set(strings.TrimSpace(string(text)))
	}
	if err != nil {
		return fmt.Errorf("the budget of %s: %w", f.dir, err)
	}
	return nil
}

// openToWrite opens the folder, which is made if need be, and remembers the budget if it was given. What is above the budget is evicted.
func (f *folder) openToWrite(events kvcache.EventListener) (*disk.Store, error) {
	if err := f.resolve(); err != nil {
		return nil, err
	}
	s, err := disk.Open(f.dir, disk.Options{Budget: int64(f.budget), Events: events})
	if err != nil {
		return nil, err
	}
	if f.cmd.Flags().Changed("cache-budget") {
		if err := f.remember(); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// remember writes the budget into the folder, whole or not at all.
func (f *folder) remember() error {
	file, err := os.CreateTemp(f.dir, budgetName+".*.tmp")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(file, int64(f.budget))
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), filepath.Join(f.dir, budgetName))
	}
	if err != nil {
		os.Remove(file.Name())
	}
	return err
}

// openToLook opens a folder that must be there, in a way that evicts nothing.
func (f *folder) openToLook() (*disk.Store, error) {
	if err := f.resolve(); err != nil {
		return nil, err
	}
	if _, err := os.Stat(f.dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("nothing has been kept in %s", f.dir)
	}
	return disk.Open(f.dir, disk.Options{})
}

// size is a number of bytes; as a flag, 10GiB, 500MB or 4096.
type size int64

var units = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1}, {"", 1}}

// String returns the size in the largest binary unit that it fills, in about three digits.
func (s size) String() string {
	for _, u := range units[:4] {
		if x := float64(s) / float64(u.bytes); x >= 1 {
			digits := 0
			if x < 10 && x != float64(int64(x)) {
				digits = 1
			}
			return strconv.FormatFloat(x, 'f', digits, 64) + " " + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + " B"
}

// Set reads a size of at least one byte.
func (s *size) Set(text string) error {
	for _, u := range units {
		number, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		x, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(x*float64(u.bytes) >= 1 && x*float64(u.bytes) < 1<<62) {
			break
		}
		*s = size(x * float64(u.bytes))
		return nil
	}
	return fmt.Errorf("%q is not a size such as 10GiB, 500MB or 4096", text)
}

// Type is what --help calls it.
func (*size) Type() string { return "size" }
