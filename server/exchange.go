// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/graphkv/graphkv"
)

// exchange is one request and its response.
type exchange struct {
	*Server
	w       http.ResponseWriter
	r       *http.Request
	control *http.ResponseController
	ctx     context.Context
	info    Request
	out     Outcome
	dialect dialect
	place   *place
	release context.CancelFunc // of the context since admission
	last    time.Time          // of the last piece of the answer, or of admission
	pieces  int                // of the answer
}

// dialect is how errors look to a kind of client.
type dialect func(*apiError) any

// serve runs one endpoint's handler. A request takes a place at the gate if the
// endpoint is one where it may make the server work.
func (s *Server) serve(pattern string, d dialect, work bool, do func(*exchange) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{
			Server: s, w: w, r: r, control: http.NewResponseController(w), ctx: r.Context(), dialect: d,
			info: Request{Route: pattern, Namespace: Namespace(r.Context()), Start: time.Now()},
		}
		if f := s.observer.Started; f != nil {
			x.ctx = f(x.ctx, x.info)
		}
		var cancel context.CancelCauseFunc
		x.ctx, cancel = context.WithCancelCause(x.ctx)
		defer cancel(nil)
		defer context.AfterFunc(s.stopped, func() { cancel(context.Cause(s.stopped)) })()
		defer x.end()
		_ = x.control.SetWriteDeadline(time.Time{}) // one of the server's would count from here on; see send
		err := x.enter(work)
		if err == nil {
			err = do(x)
		}
		if err != nil {
			x.fail(err)
		}
	}
}

// enter takes a place, or refuses all when the server shuts down.
func (x *exchange) enter(work bool) (err error) {
	if work {
		x.place, err = x.gate.enter(x.info.Namespace)
		return err
	}
	if x.stopped.Err() != nil || x.gate.closed() {
		return errDraining
	}
	return nil
}

// end is deferred. A panic is an error of this request alone.
func (x *exchange) end() {
	if v := recover(); v != nil {
		if v == http.ErrAbortHandler {
			x.leave()
			panic(v)
		}
		what := fmt.Sprintf("%T", v) // its text may be a client's
		if e, ok := v.(runtime.Error); ok {
			what = e.Error()
		}
		x.fail(fmt.Errorf("panic: %s\n%s", what, debug.Stack()))
	}
	x.leave()
	x.out.Took = time.Since(x.info.Start)
	if f := x.observer.Finished; f != nil {
		f(x.ctx, x.info, x.out)
	}
}

func (x *exchange) leave() {
	if x.release != nil {
		x.release()
	}
	if x.place != nil {
		x.place.leave()
		x.place = nil
	}
	_ = x.control.SetWriteDeadline(time.Now().Add(x.limits.WriteTime)) // for the rest of the response
}

// admit waits until the request may use the model. From then on it has RequestTime.
func (x *exchange) admit() error {
	began := time.Now()
	if err := x.place.wait(x.ctx); err != nil {
		return err
	}
	x.last = time.Now()
	x.out.Waited = x.last.Sub(began)
	if f := x.observer.Admitted; f != nil {
		f(x.ctx, x.info, x.out.Waited)
	}
	x.ctx, x.release = context.WithTimeoutCause(x.ctx, x.limits.RequestTime, errTimeout)
	return nil
}

// answer runs the model on a plan. emit, which may be nil, gets the answer as it grows.
func (x *exchange) answer(p *graphkv.Plan, emit func(string) error, options ...graphkv.GenerateOption) (*graphkv.Result, error) {
	stream := graphkv.Stream(func(text string) error {
		now := time.Now()
		if x.pieces == 0 {
			x.out.FirstText = now.Sub(x.info.Start)
		}
		if f := x.observer.Text; f != nil {
			f(x.ctx, x.info, x.pieces, now.Sub(x.last))
		}
		x.last = now
		x.pieces++
		if emit == nil {
			return nil
		}
		return emit(text)
	})
	options = append(options, stream, graphkv.InNamespace(x.info.Namespace))
	result, err := x.engine.Generate(x.ctx, p, options...)
	if err != nil {
		return nil, err
	}
	x.out.Strategy, x.out.Usage, x.out.Timings, x.out.FinishReason = p.Strategy(), result.Usage, result.Timings, result.FinishReason
	if x.prompts {
		x.log.LogAttrs(x.ctx, slog.LevelInfo, "answer", slog.String("route", x.info.Route), slog.String("namespace", x.info.Namespace), slog.String("text", result.Text))
	}
	return result, nil
}

// fail answers with an error. When the response has begun, the client finds out by
// what is missing at its end; see [events].
func (x *exchange) fail(err error) {
	e := failed(x.ctx, err)
	x.out.Code = e.Code
	if e.Status == http.StatusInternalServerError {
		x.log.LogAttrs(x.ctx, slog.LevelError, "request failed", slog.String("route", x.info.Route), slog.String("namespace", x.info.Namespace), slog.String("error", err.Error()))
	}
	if x.out.Status != 0 {
		return
	}
	// Also to a client that seems to have gone: one that has closed its half of the
	// connection still listens, and would take no response for a good one.
	e.header(x.w.Header())
	_ = x.write(e.Status, x.dialect(e))
}
