// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package redis

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/redis/redistest"
)

// BenchmarkStore is what the store reaches, beside bare go-redis with the same values: GetToBuffer of one value after the other into a buffer
// that is there, SET of one after the other.
func BenchmarkStore(b *testing.B) {
	server := redistest.Start(b)
	for _, size := range []struct{ layers, blocks int }{{16, 16}, {32, 128}} { // 16 KiB × layers × blocks
		kv := randomKV(size.layers, size.blocks, 1)
		k := kvcache.Key{byte(size.layers)}
		s := open(b, server.URL(), Options{})
		if err := s.Put(b.Context(), k, kv); err != nil {
			b.Fatal(err)
		}
		c := server.Client()
		raw, err := c.Get(b.Context(), s.node(k)).Bytes()
		if err != nil {
			b.Fatal(err)
		}
		h, err := decode(k, raw)
		if err != nil {
			b.Fatal(err)
		}
		chunks, bare := h.names(s.node(k)), h.names("bare")
		into := kvcache.NewKV(kv.Shape(), kv.Tokens()).Data()
		run := func(what string, f func() error) {
			b.Run(fmt.Sprintf("%dMiB/%s", kv.Bytes()>>20, what), func(b *testing.B) {
				b.SetBytes(kv.Bytes())
				b.ReportAllocs()
				for b.Loop() {
					if err := f(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		run("Get", func() error {
			h, err := s.Get(b.Context(), k)
			if err == nil {
				h.Release()
			}
			return err
		})
		run("Get-bare", func() error {
			for i, name := range chunks {
				if err := c.GetToBuffer(b.Context(), name, h.part(into, i)).Err(); err != nil {
					return err
				}
			}
			return nil
		})
		// Each Put leaves what it replaced to readers for Options.Timeout; so it is deleted first, here and there.
		run("Put", func() error {
			if err := s.Put(b.Context(), kvcache.Key{1}, kv); err != nil {
				return err
			}
			return s.Delete(b.Context(), kvcache.Key{1})
		})
		run("Put-bare", func() error {
			for i, name := range bare {
				if err := c.Set(b.Context(), name, h.part(kv.Data(), i), time.Hour).Err(); err != nil {
					return err
				}
			}
			return c.Unlink(b.Context(), bare...).Err()
		})
	}
	s := open(b, server.URL(), Options{})
	b.Run("Miss", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Get(b.Context(), kvcache.Key{}); !errors.Is(err, kvcache.ErrNotFound) {
				b.Fatal(err)
			}
		}
	})
}
