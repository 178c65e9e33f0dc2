// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// hubFile is a file of a Hugging Face style hub.
type hubFile struct {
	hubRef
	pause time.Duration // before the first retry, doubled for each further one; 0: half a second
	stall time.Duration // without a byte before the connection is given up; 0: one minute
}

const (
	defaultEndpoint = "https://huggingface.co"
	maxTries        = 5 // in a row without a new byte
	maxRedirects    = 10
)

// StatusError is an answer of the hub other than the file.
type StatusError struct {
	Code int    // HTTP status
	URL  string // that was asked for, without query
	hint string
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("%s: HTTP status %d %s", e.URL, e.Code, http.StatusText(e.Code))
	if e.hint != "" {
		s += ": " + e.hint
	}
	return s
}

// passing marks failures that another try may mend.
type passing struct {
	err   error
	after time.Duration // asked for by the server
}

func (e *passing) Error() string { return e.err.Error() }
func (e *passing) Unwrap() error { return e.err }

func (f *hubFile) fetch(ctx context.Context, part *partial) (expected, error) {
	u, err := f.url()
	if err != nil {
		return expected{}, err
	}
	pause := f.pause
	if pause == 0 {
		pause = 500 * time.Millisecond
	}
	best := part.size
	for try, wait := 1, pause; ; try++ {
		want, err := f.attempt(ctx, u, part)
		if err == nil {
			return want, nil
		}
		if ctx.Err() != nil {
			return expected{}, fmt.Errorf("%s: %w", u, ctx.Err())
		}
		var p *passing
		if !errors.As(err, &p) {
			return expected{}, err
		}
		if part.size > best {
			best, try, wait = part.size, 1, pause
		}
		if try >= maxTries {
			return expected{}, fmt.Errorf("gave up after %d tries: %w", try, err)
		}
		select {
		case <-ctx.Done():
			return expected{}, fmt.Errorf("%s: %w", u, ctx.Err())
		case <-time.After(max(wait, p.after)):
		}
		wait *= 2
	}
}

func (f *hubFile) url() (*url.URL, error) {
	endpoint := os.Getenv("HF_ENDPOINT")
	if endpoint == "" {
		endpoint = defaultEndpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		// Not quoted: somebody may have put a password there.
		return nil, errors.New("HF_ENDPOINT is not an http(s) address without user name and query")
	}
	return u.JoinPath(f.owner, f.repo, "resolve", url.PathEscape(f.revision), f.path), nil
}

var sha256Pattern = regexp.MustCompile(`^(?:W/)?"?([0-9a-f]{64})"?$`)

// attempt makes one request and appends what comes to part.
func (f *hubFile) attempt(ctx context.Context, u *url.URL, part *partial) (expected, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return expected{}, err
	}
	req.Header.Set("User-Agent", "graphkv")
	req.Header.Set("Accept-Encoding", "identity")
	if token := os.Getenv("HF_TOKEN"); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	had := part.state()
	if part.size > 0 && had.ETag == "" {
		if err := part.restart(partialState{}); err != nil {
			return expected{}, err
		}
	}
	if part.size > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", part.size))
		req.Header.Set("If-Range", had.ETag)
	}

	stall := f.stall
	if stall == 0 {
		stall = time.Minute
	}
	alarm := time.AfterFunc(stall, cancel)
	defer alarm.Stop()

	linked := http.Header{} // of the hub's own answer, when it redirects
	client := http.Client{CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return errors.New("too many redirects")
		}
		if next.URL.Scheme != "https" && next.URL.Scheme != u.Scheme {
			return errors.New("redirect from https to " + next.URL.Scheme)
		}
		if next.URL.Host != u.Host || next.URL.Scheme != u.Scheme {
			next.Header.Del("Authorization")
		}
		if from := next.Response; from != nil && from.Request != nil && from.Request.URL.Host == u.Host && len(linked) == 0 {
			linked = from.Header
		}
		return nil
	}}
	resp, err := client.Do(req)
	if err != nil {
		// The error of the client quotes the last address with its query, which
		// may hold a signature.
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return expected{}, &passing{err: fmt.Errorf("%s: %w", u, err)}
	}
	defer resp.Body.Close()
	if len(linked) == 0 {
		linked = resp.Header
	}

	want, err := f.said(linked, resp)
	if err != nil {
		return expected{}, fmt.Errorf("%s: %w", u, err)
	}
	now := partialState{SHA256: want.SHA256}
	if tag := resp.Header.Get("ETag"); strings.HasPrefix(tag, `"`) {
		now.ETag = tag
	}
	switch resp.StatusCode {
	case http.StatusOK:
		if err := part.restart(now); err != nil {
			return expected{}, err
		}
	case http.StatusPartialContent:
		start, total, ok := contentRange(resp.Header.Get("Content-Range"))
		if !ok || start != part.size || now != had {
			// Not the continuation of what is there.
			if err := part.restart(partialState{}); err != nil {
				return expected{}, err
			}
			return expected{}, &passing{err: fmt.Errorf("%s: the answer does not continue the %d bytes at hand", u, start)}
		}
		if want.Size == 0 {
			want.Size = total
		}
	case http.StatusRequestedRangeNotSatisfiable:
		if part.size == 0 {
			return expected{}, statusError(resp, u)
		}
		if err := part.restart(partialState{}); err != nil {
			return expected{}, err
		}
		return expected{}, &passing{err: statusError(resp, u)}
	default:
		return expected{}, statusError(resp, u)
	}

	limit := part.opts.maxBytes()
	if want.Size > limit {
		return expected{}, fmt.Errorf("%w: %s has %d bytes, limit %d", ErrTooLarge, u, want.Size, limit)
	}
	part.total = -1
	if want.Size > 0 {
		part.total = want.Size
	}
	part.report()
	most := limit
	if want.Size > 0 {
		most = want.Size
	}
	// One byte more shows that there is more.
	body := io.LimitReader(&stallReader{resp.Body, alarm, stall}, max(0, most-part.size)+1)
	_, err = io.CopyBuffer(onlyWriter{part}, body, make([]byte, 256<<10))
	var disk *writeError
	switch {
	case errors.As(err, &disk):
		if part.state().ETag == "" {
			// Nothing can go on from these bytes: they only take room.
			part.remove()
		}
		return expected{}, err
	case part.size > most && want.Size == 0:
		part.remove()
		return expected{}, fmt.Errorf("%w: %s sent more than %d bytes", ErrTooLarge, u, limit)
	case err != nil:
		return expected{}, &passing{err: fmt.Errorf("%s: after %d bytes: %w", u, part.size, err)}
	case want.Size > 0 && part.size != want.Size:
		size := part.size
		if size > want.Size {
			if err := part.restart(partialState{}); err != nil {
				return expected{}, err
			}
			return expected{}, fmt.Errorf("%w: %s sent %d bytes, promised %d", ErrCorrupt, u, size, want.Size)
		}
		return expected{}, &passing{err: fmt.Errorf("%w: %s sent %d bytes, promised %d", ErrCorrupt, u, size, want.Size)}
	}
	return want, nil
}

// said is what the headers tell of the whole file: the hub's own answer
// (linked) before that of the storage it redirects to.
func (f *hubFile) said(linked http.Header, resp *http.Response) (expected, error) {
	var want expected
	for _, tag := range []string{linked.Get("X-Linked-Etag"), linked.Get("ETag"), resp.Header.Get("ETag")} {
		if m := sha256Pattern.FindStringSubmatch(tag); m != nil {
			want.SHA256 = m[1]
			break
		}
	}
	if s := linked.Get("X-Linked-Size"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n <= 0 {
			return want, fmt.Errorf("header X-Linked-Size %q is not a size", s)
		}
		want.Size = n
	}
	if resp.StatusCode == http.StatusOK && resp.ContentLength >= 0 {
		if want.Size > 0 && want.Size != resp.ContentLength {
			return want, fmt.Errorf("%w: the hub promises %d bytes, the storage %d", ErrCorrupt, want.Size, resp.ContentLength)
		}
		want.Size = resp.ContentLength
	}
	return want, nil
}

// statusError explains an answer that is not the file.
func statusError(resp *http.Response, u *url.URL) error {
	e := &StatusError{Code: resp.StatusCode, URL: u.String()}
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		e.hint = "the repository does not exist or needs a token: set HF_TOKEN"
		if os.Getenv("HF_TOKEN") != "" {
			e.hint = "the repository does not exist or the token in HF_TOKEN is not accepted"
		}
	case http.StatusForbidden:
		e.hint = "the token in HF_TOKEN may not read this repository; its licence may have to be accepted on the hub first"
		if os.Getenv("HF_TOKEN") == "" {
			e.hint = "reading this repository needs a token: set HF_TOKEN"
		}
	case http.StatusNotFound:
		e.hint = "no such repository, revision or file"
	}
	switch resp.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusRequestedRangeNotSatisfiable:
	default:
		if resp.StatusCode < 500 {
			return e
		}
	}
	p := &passing{err: e}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		p.after = min(time.Duration(s)*time.Second, time.Minute)
	}
	return p
}

var contentRangePattern = regexp.MustCompile(`^bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)$`)

// contentRange reads "bytes 100-199/200"; total is 0 if it is not told.
func contentRange(s string) (start, total int64, ok bool) {
	m := contentRangePattern.FindStringSubmatch(s)
	if m == nil {
		return 0, 0, false
	}
	start, _ = strconv.ParseInt(m[1], 10, 64)
	total, _ = strconv.ParseInt(m[2], 10, 64) // "*" gives 0
	return start, total, true
}

// onlyWriter hides everything but Write, so that the copy uses its buffer.
type onlyWriter struct{ io.Writer }

// stallReader puts the alarm off while bytes come.
type stallReader struct {
	r     io.Reader
	alarm *time.Timer
	stall time.Duration
}

func (s *stallReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if n > 0 {
		s.alarm.Reset(s.stall)
	}
	return n, err
}
