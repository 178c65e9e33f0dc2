// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"time"

	"github.com/graphkv/graphkv"
)

// Observer is told what happens to requests, for metrics and traces; nil fields are
// left out. Its functions are called on the request's goroutine, possibly many at
// once, and hold it up while they run. None of them sees text.
type Observer struct {
	// Started is called when a request has arrived, before anything is read of it.
	// The request goes on with the context that it returns.
	Started func(ctx context.Context, r Request) context.Context
	// Admitted is called when a request that runs the model may begin, after so long
	// in the queue.
	Admitted func(ctx context.Context, r Request, waited time.Duration)
	// Text is called when a piece of an answer has been generated, and before it is
	// sent: one token, or as many as were held back because they could have become a
	// stop string or were parts of one character. since is the time from the piece
	// before it, and for the first from when the request was admitted.
	Text func(ctx context.Context, r Request, index int, since time.Duration)
	// Finished is called when the response is over.
	Finished func(ctx context.Context, r Request, o Outcome)
	// Prepared is called when a document has been encoded in the background.
	Prepared func(namespace string, u graphkv.Usage, took time.Duration, err error)
}

// Request says what a request is, in a bounded number of words.
type Request struct {
	Route     string // the pattern, such as "POST /v1/chat/completions"; "" for paths and methods that there are not
	Namespace string
	Start     time.Time
}

// StatusCanceled is the status of a request whose client has gone before there was
// one to send.
const StatusCanceled = 499

// Outcome says how a request ended.
type Outcome struct {
	Status int    // as sent; [StatusCanceled] if nobody was there to get one
	Code   string // of the error, in the form of an identifier; "" if there was none
	Stream bool   // the answer was sent as it grew. Then Status is 200 whatever happened later.
	// Strategy and the fields below it are set when the model has run.
	Strategy     graphkv.Strategy
	Usage        graphkv.Usage
	Timings      graphkv.Timings
	FinishReason graphkv.FinishReason
	Waited       time.Duration // in the queue
	FirstText    time.Duration // from Start to the first piece of the answer; 0: there was none
	Took         time.Duration // from Start to the end
}
