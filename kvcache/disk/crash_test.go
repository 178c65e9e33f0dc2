// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package disk

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache"
)

// writerEnv makes the test binary a process that writes to the folder it names until it is killed, and says what it does.
const writerEnv = "GRAPHKV_DISK_WRITER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerEnv); dir != "" {
		fmt.Println("error", writeForEver(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const crashKeys = 40 // of one or two blocks each

func writeForEver(dir string) error {
	budget, err := strconv.ParseInt(os.Args[1], 10, 64)
	if err != nil {
		return err
	}
	s, err := Open(dir, Options{Budget: budget})
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(uint64(os.Getpid()), uint64(time.Now().UnixNano())))
	for {
		seed := rng.Uint64N(crashKeys)
		switch rng.IntN(6) {
		case 0:
			fmt.Println("deleting", seed) // a write, not buffered
			if err := s.Delete(ctx, keyOf(seed)); err != nil {
				return err
			}
			fmt.Println("deleted", seed)
		case 1:
			if h, err := s.Get(ctx, keyOf(seed)); err == nil {
				h.Release()
			} else if err != kvcache.ErrNotFound {
				return err
			}
		default:
			fmt.Println("putting", seed)
			if err := s.Put(ctx, keyOf(seed), makeKV(seed)); err != nil {
				return err
			}
			fmt.Println("put", seed)
		}
	}
}

// Writers are killed at random moments, while they write or open or evict. After each time, what can be read is right to the last bit,
// nothing is half-written, no temporary file stays, and after a single writer with room for all, what it said was put is there, and what it
// said was deleted is not. GRAPHKV_CRASHES says how often.
func TestKilledWriters(t *testing.T) {
	crashes := 20
	if testing.Short() {
		crashes = 5
	}
	if n, err := strconv.Atoi(os.Getenv("GRAPHKV_CRASHES")); err == nil {
		crashes = n
	}
	dir, rng := t.TempDir(), rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	leftovers, certainties := 0, 0
	certain := map[uint64]bool{} // whether it is there, of those of which that is known
	for i := range crashes {
		writers, budget := 1, 2*(crashKeys+1)*blockSize // for all, and one being replaced
		if i%3 == 2 {
			writers, budget = 2, crashKeys/2*blockSize
			clear(certain)
		}
		var running []*exec.Cmd
		var said []*bufio.Scanner
		for range writers {
			cmd := exec.Command(os.Args[0], strconv.Itoa(budget))
			cmd.Env = append(os.Environ(), writerEnv+"="+dir)
			pipe, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			running, said = append(running, cmd), append(said, bufio.NewScanner(pipe))
		}
		time.Sleep(time.Duration(rng.IntN(150_000)) * time.Microsecond)
		for _, cmd := range running {
			require.NoError(t, cmd.Process.Kill())
		}
		for w, cmd := range running {
			for said[w].Scan() {
				what, rest, _ := strings.Cut(said[w].Text(), " ")
				require.NotEqual(t, "error", what, rest)
				seed, err := strconv.ParseUint(rest, 10, 64)
				require.NoError(t, err)
				if delete(certain, seed); writers == 1 && (what == "put" || what == "deleted") {
					certain[seed] = what == "put"
				}
			}
			_ = cmd.Wait() // it was killed
		}
		leftovers += len(files(t, dir, isTemp))
		certainties += len(certain)

		s, err := Open(dir, Options{Budget: int64(budget)})
		require.NoError(t, err)
		require.Empty(t, files(t, dir, isTemp), "temporary files stay")
		require.Len(t, files(t, s.root, func(name string) bool { return !isEntry(name) }), 2, "the lock and this store's own")
		found := 0
		for seed := range uint64(crashKeys) {
			there := has(t, s, seed)
			if there {
				found++
			}
			if want, ok := certain[seed]; ok {
				require.Equal(t, want, there, "KV %d", seed)
			}
		}
		require.Equal(t, found, s.Metrics().Entries, "no file that cannot be read")
		require.Zero(t, s.Metrics().Corrupt)
		checkMetrics(t, s)
		require.NoError(t, s.Close())
	}
	t.Logf("%d crashes left %d temporary files, all removed; %d times it was certain what is there", crashes, leftovers, certainties)
}
