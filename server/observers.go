// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"time"

	"github.com/graphkv/graphkv"
)

// Observers returns one that tells all of the given ones, in their order. Each gets the context that Started of those before it has returned.
func Observers(all ...Observer) Observer {
	return Observer{
		Started: func(ctx context.Context, r Request) context.Context {
			for _, o := range all {
				if o.Started != nil {
					ctx = o.Started(ctx, r)
				}
			}
			return ctx
		},
		Admitted: func(ctx context.Context, r Request, waited time.Duration) {
			for _, o := range all {
				if o.Admitted != nil {
					o.Admitted(ctx, r, waited)
				}
			}
		},
		Text: func(ctx context.Context, r Request, index int, since time.Duration) {
			for _, o := range all {
				if o.Text != nil {
					o.Text(ctx, r, index, since)
				}
			}
		},
		Finished: func(ctx context.Context, r Request, outcome Outcome) {
			for _, o := range all {
				if o.Finished != nil {
					o.Finished(ctx, r, outcome)
				}
			}
		},
		Prepared: func(namespace string, u graphkv.Usage, took time.Duration, err error) {
			for _, o := range all {
				if o.Prepared != nil {
					o.Prepared(namespace, u, took, err)
				}
			}
		},
	}
}
