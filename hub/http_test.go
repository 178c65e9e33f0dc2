// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package hub

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const testRef = "hf:owner/repo/dir/model.gguf"

// content makes a file that begins as GGUF does.
func content(size int, seed uint64) []byte {
	b := make([]byte, size)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	copy(b, "GGUF")
	return b
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// fakeHub serves one file the way a hub does and can misbehave.
type fakeHub struct {
	mu       sync.Mutex
	data     []byte
	etag     string // with quotes; empty: none
	linked   bool   // tell hash and size in X-Linked- headers
	noRange  bool
	noLength bool
	drop     []int // bytes after which the nth request's connection breaks
	fail     []int // status of the nth request
	requests []*http.Request
}

func (h *fakeHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.requests)
	h.requests = append(h.requests, r)
	if n < len(h.fail) && h.fail[n] != 0 {
		http.Error(w, "failing", h.fail[n])
		return
	}
	if h.linked {
		w.Header().Set("X-Linked-Etag", `"`+sum(h.data)+`"`)
		w.Header().Set("X-Linked-Size", strconv.Itoa(len(h.data)))
	}
	if h.etag != "" {
		w.Header().Set("ETag", h.etag)
	}
	body := h.data
	status := http.StatusOK
	var from int
	if rng := r.Header.Get("Range"); rng != "" && !h.noRange && r.Header.Get("If-Range") == h.etag {
		fmt.Sscanf(rng, "bytes=%d-", &from)
		if from >= len(h.data) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", len(h.data)))
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		body, status = body[from:], http.StatusPartialContent
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(h.data)-1, len(h.data)))
	}
	if !h.noLength {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(status)
	if n < len(h.drop) && h.drop[n] >= 0 && h.drop[n] < len(body) {
		w.Write(body[:h.drop[n]])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	w.Write(body)
}

func (h *fakeHub) start(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	t.Setenv("HF_ENDPOINT", s.URL)
	t.Setenv("HF_TOKEN", "")
	return s
}

// pullFast is Pull without the pauses between tries.
func pullFast(ctx context.Context, ref string, opts Options) (string, error) {
	t, err := resolve(ref, opts)
	if err != nil {
		return "", err
	}
	if err := present(ctx, t, opts); err == nil || !refetch(err) {
		return t.path, err
	}
	t.source.(*hubFile).pause = time.Millisecond
	return t.path, install(ctx, t, opts)
}

func TestPullFromHub(t *testing.T) {
	data := content(100_000, 1)
	h := &fakeHub{data: data, etag: `"` + sum(data) + `"`}
	h.start(t)
	dir := t.TempDir()
	var done, total int64
	opts := Options{Dir: dir, Progress: func(d, n int64) { done, total = d, n }}

	_, err := Locate(t.Context(), testRef, opts)
	assert.ErrorIs(t, err, ErrNotCached)
	path, err := Pull(t.Context(), testRef, opts)
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(dir, "hf", "owner", "repo", "main", "dir", "model.gguf"), path)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data, got))
	assert.Equal(t, int64(len(data)), done)
	assert.Equal(t, int64(len(data)), total)
	assert.Equal(t, "/owner/repo/resolve/main/dir/model.gguf", h.requests[0].URL.Path)
	assert.Empty(t, h.requests[0].Header.Get("Authorization"))

	// Present: no further request, neither to pull nor to look nor to verify.
	for _, verify := range []bool{false, true} {
		opts.Verify = verify
		again, err := Pull(t.Context(), testRef, opts)
		require.NoError(t, err)
		assert.Equal(t, path, again)
		again, err = Locate(t.Context(), testRef, opts)
		require.NoError(t, err)
		assert.Equal(t, path, again)
	}
	assert.Len(t, h.requests, 1)

	models, err := List(opts)
	require.NoError(t, err)
	assert.Equal(t, []Model{{Ref: testRef, Path: path, Size: int64(len(data)), SHA256: sum(data)}}, models)

	// A changed byte is noticed when asked, a cut file always; both are mended.
	changed := bytes.Clone(data)
	changed[50_000] ^= 1
	require.NoError(t, os.WriteFile(path, changed, 0o644))
	_, err = Locate(t.Context(), testRef, Options{Dir: dir})
	assert.NoError(t, err)
	_, err = Locate(t.Context(), testRef, Options{Dir: dir, Verify: true})
	assert.ErrorIs(t, err, ErrCorrupt)
	_, err = Pull(t.Context(), testRef, Options{Dir: dir, Verify: true})
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, 99_999))
	_, err = Locate(t.Context(), testRef, Options{Dir: dir})
	assert.ErrorIs(t, err, ErrCorrupt)
	_, err = Pull(t.Context(), testRef, Options{Dir: dir})
	require.NoError(t, err)
	got, err = os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data, got))
	assert.Len(t, h.requests, 3)
}

func TestResumeAfterDrops(t *testing.T) {
	data := content(1<<20, 2)
	for name, h := range map[string]*fakeHub{
		"ranges":           {data: data, etag: `"v1"`, linked: true, drop: []int{300_000, 1, 0, 200_000}},
		"many drops":       {data: data, etag: `"v1"`, linked: true, drop: []int{9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9}},
		"ignores ranges":   {data: data, etag: `"v1"`, linked: true, noRange: true, drop: []int{300_000, 500_000}},
		"no ETag":          {data: data, linked: true, drop: []int{300_000, 500_000}},
		"weak ETag":        {data: data, etag: `W/"v1"`, linked: true, drop: []int{300_000}},
		"no length":        {data: data, etag: `"v1"`, linked: true, noLength: true, drop: []int{300_000}},
		"server errors":    {data: data, etag: `"v1"`, linked: true, fail: []int{500, 503, 429, 0, 502}, drop: []int{-1, -1, -1, 400_000}},
		"unknown hash too": {data: data, etag: `"v1"`, drop: []int{300_000, 100}},
	} {
		t.Run(name, func(t *testing.T) {
			h.start(t)
			path, err := pullFast(t.Context(), testRef, Options{Dir: t.TempDir()})
			require.NoError(t, err)
			got, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(data, got))
			assert.NoFileExists(t, path+".partial")
			assert.NoFileExists(t, path+".partial.json")
			ranged := 0
			for _, r := range h.requests {
				if r.Header.Get("Range") != "" {
					ranged++
					assert.Equal(t, h.etag, r.Header.Get("If-Range"))
				}
			}
			if strings.HasPrefix(h.etag, `"`) {
				assert.Positive(t, ranged)
			} else {
				assert.Zero(t, ranged, "without a strong ETag nothing may be resumed")
			}
		})
	}
}

// A fetch that failed leaves its bytes for the next call.
func TestResumeInLaterCall(t *testing.T) {
	data := content(1<<20, 3)
	h := &fakeHub{data: data, etag: `"v1"`, linked: true, drop: []int{600_000}, fail: []int{0, 500, 500, 500, 500, 500}}
	h.start(t)
	dir := t.TempDir()
	_, err := pullFast(t.Context(), testRef, Options{Dir: dir})
	var status *StatusError
	require.ErrorAs(t, err, &status)
	assert.Equal(t, 500, status.Code)
	assert.ErrorContains(t, err, "gave up after 5 tries")
	h.requests, h.fail, h.drop = nil, nil, nil
	path, err := pullFast(t.Context(), testRef, Options{Dir: dir})
	require.NoError(t, err)
	require.Len(t, h.requests, 1)
	from, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(h.requests[0].Header.Get("Range"), "bytes="), "-"))
	require.NoError(t, err)
	assert.Positive(t, from)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data, got))
}

// Bytes of two versions never mix.
func TestVersionChangesBetweenTries(t *testing.T) {
	for _, linked := range []bool{true, false} {
		dir := t.TempDir()
		h := &fakeHub{data: content(1<<20, 4), etag: `"v1"`, linked: linked, drop: []int{600_000}, fail: []int{0, 500, 500, 500, 500, 500}}
		h.start(t)
		_, err := pullFast(t.Context(), testRef, Options{Dir: dir})
		require.Error(t, err)
		next := content(900_000, 5)
		h.requests, h.fail, h.drop, h.data, h.etag = nil, nil, nil, next, `"v2"`
		path, err := pullFast(t.Context(), testRef, Options{Dir: dir})
		require.NoError(t, err)
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(next, got))
	}
	// The same ETag for other bytes, as told by the hash alone.
	dir := t.TempDir()
	h := &fakeHub{data: content(1<<20, 4), etag: `"v1"`, linked: true, drop: []int{600_000}, fail: []int{0, 500, 500, 500, 500, 500}}
	h.start(t)
	_, err := pullFast(t.Context(), testRef, Options{Dir: dir})
	require.Error(t, err)
	next := content(1<<20, 6)
	h.requests, h.fail, h.drop, h.data = nil, nil, nil, next
	path, err := pullFast(t.Context(), testRef, Options{Dir: dir})
	require.NoError(t, err)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(next, got))
}

func TestHubLies(t *testing.T) {
	data := content(50_000, 7)
	serve := func(t *testing.T, f http.HandlerFunc) {
		s := httptest.NewServer(f)
		t.Cleanup(s.Close)
		t.Setenv("HF_ENDPOINT", s.URL)
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"wrong hash": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Linked-Etag", `"`+strings.Repeat("0", 64)+`"`)
			w.Write(data)
		}, "has SHA-256 " + sum(data)},
		"longer than promised": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Linked-Size", "49999")
			w.(http.Flusher).Flush()
			w.Write(data)
		}, "promised 49999"},
		"shorter than promised": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Linked-Size", "50001")
			w.(http.Flusher).Flush()
			w.Write(data)
		}, "sent 50000 bytes, promised 50001"},
		"two lengths": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Linked-Size", "7")
			w.Header().Set("Content-Length", "50000")
			w.Write(data)
		}, "the hub promises 7 bytes, the storage 50000"},
		"bad length": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Linked-Size", "-7")
			w.Write(data)
		}, `X-Linked-Size "-7"`},
		"not a GGUF file": {func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte("<html>log in</html>"))
		}, "is not a GGUF file"},
		"empty": {func(w http.ResponseWriter, r *http.Request) {}, "is not a GGUF file"},
	} {
		t.Run(name, func(t *testing.T) {
			serve(t, c.handler)
			dir := t.TempDir()
			path, err := pullFast(t.Context(), testRef, Options{Dir: dir})
			assert.ErrorContains(t, err, c.want)
			assert.NoFileExists(t, path)
			models, err := List(Options{Dir: dir})
			assert.NoError(t, err)
			assert.Empty(t, models)
		})
	}
}

// The token goes to the hub and nowhere else, not even to another port of its
// host, and into no message.
func TestTokenStaysWithTheHub(t *testing.T) {
	const token = "hf_secretsecret"
	data := content(50_000, 8)
	var atStorage []http.Header
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		atStorage = append(atStorage, r.Header.Clone())
		assert.NotContains(t, fmt.Sprint(r.Header, r.URL), token)
		w.Header().Set("ETag", `"0123"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}))
	defer storage.Close()
	var atHub []string
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		atHub = append(atHub, r.Header.Get("Authorization"))
		if r.URL.Path == "/owner/repo/resolve/v1/moved.gguf" {
			http.Redirect(w, r, "/owner/new/resolve/v1/moved.gguf", http.StatusTemporaryRedirect)
			return
		}
		w.Header().Set("X-Linked-Etag", `"`+sum(data)+`"`)
		w.Header().Set("X-Linked-Size", strconv.Itoa(len(data)))
		http.Redirect(w, r, storage.URL+"/blob?signature=abc", http.StatusFound)
	}))
	defer hub.Close()
	t.Setenv("HF_ENDPOINT", hub.URL)
	t.Setenv("HF_TOKEN", token)
	path, err := pullFast(t.Context(), "hf:owner/repo/file.gguf", Options{Dir: t.TempDir()})
	require.NoError(t, err)
	assert.Equal(t, []string{"Bearer " + token}, atHub)
	require.Len(t, atStorage, 1)
	assert.Empty(t, atStorage[0].Get("Authorization"))
	n, err := readNote(path)
	require.NoError(t, err)
	assert.Equal(t, sum(data), n.SHA256)

	atHub = nil
	_, err = pullFast(t.Context(), "hf:owner/repo/moved.gguf@v1", Options{Dir: t.TempDir()})
	require.NoError(t, err)
	assert.Equal(t, []string{"Bearer " + token, "Bearer " + token}, atHub, "a redirect on the hub keeps the token")

	// Failures of the storage show neither token nor signature.
	storage.Close()
	_, err = pullFast(t.Context(), "hf:owner/repo/other.gguf", Options{Dir: t.TempDir()})
	require.Error(t, err)
	assert.NotContains(t, err.Error(), token)
	assert.NotContains(t, err.Error(), "signature")
}

func TestStatusErrors(t *testing.T) {
	for _, c := range []struct {
		code  int
		token string
		want  string
	}{
		{401, "", "set HF_TOKEN"},
		{401, "hf_secret", "the token in HF_TOKEN is not accepted"},
		{403, "", "needs a token: set HF_TOKEN"},
		{403, "hf_secret", "licence may have to be accepted"},
		{404, "", "no such repository, revision or file"},
		{418, "", "HTTP status 418 I'm a teapot"},
	} {
		h := &fakeHub{fail: []int{c.code, 200}}
		h.start(t)
		t.Setenv("HF_TOKEN", c.token)
		_, err := Pull(t.Context(), testRef, Options{Dir: t.TempDir()})
		assert.ErrorContains(t, err, c.want)
		assert.ErrorContains(t, err, "hub: pull "+testRef)
		var status *StatusError
		if assert.ErrorAs(t, err, &status) {
			assert.Equal(t, c.code, status.Code)
		}
		assert.NotContains(t, err.Error(), "hf_secret")
		assert.Len(t, h.requests, 1, "no second try")
	}
}

func TestEndpointErrors(t *testing.T) {
	for _, endpoint := range []string{"ftp://host", "http://", "nonsense", "http://user:pass@host", "https://host/?token=pass"} {
		t.Setenv("HF_ENDPOINT", endpoint)
		_, err := Pull(t.Context(), testRef, Options{Dir: t.TempDir()})
		assert.ErrorContains(t, err, "HF_ENDPOINT")
		assert.NotContains(t, err.Error(), "pass@")
		assert.NotContains(t, err.Error(), "=pass")
	}
}

func TestRevisionWithSlash(t *testing.T) {
	data := content(1000, 9)
	h := &fakeHub{data: data, linked: true}
	s := h.start(t)
	t.Setenv("HF_ENDPOINT", s.URL+"/mirror/")
	path, err := Pull(t.Context(), testRef+"@refs/pr/1", Options{Dir: t.TempDir()})
	require.NoError(t, err)
	assert.Equal(t, "/mirror/owner/repo/resolve/refs%2Fpr%2F1/dir/model.gguf", h.requests[0].URL.EscapedPath())
	assert.Contains(t, path, "refs%2Fpr%2F1")
}

func TestFullDisk(t *testing.T) {
	data := content(1<<20, 10)
	h := &fakeHub{data: data, etag: `"v1"`, linked: true}
	h.start(t)
	dir := t.TempDir()
	full := Options{Dir: dir, writer: func(w io.Writer) io.Writer { return &smallDisk{w: w, room: 500_000} }}
	path, err := pullFast(t.Context(), testRef, full)
	assert.ErrorIs(t, err, errDiskFull)
	assert.ErrorContains(t, err, path+".partial")
	assert.NoFileExists(t, path)
	assert.Len(t, h.requests, 1, "no second try")
	// With room again the fetch goes on where it ended.
	_, err = pullFast(t.Context(), testRef, Options{Dir: dir})
	require.NoError(t, err)
	assert.Equal(t, "bytes=500000-", h.requests[1].Header.Get("Range"))
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data, got))
}

var errDiskFull = errors.New("no space left on device")

// Bytes from which no fetch can go on do not stay on a full disk.
func TestFullDiskWithoutETag(t *testing.T) {
	h := &fakeHub{data: content(1<<20, 14), noLength: true}
	h.start(t)
	full := Options{Dir: t.TempDir(), writer: func(w io.Writer) io.Writer { return &smallDisk{w: w, room: 500_000} }}
	path, err := pullFast(t.Context(), testRef, full)
	assert.ErrorIs(t, err, errDiskFull)
	assert.NoFileExists(t, path+".partial")
	assert.NoFileExists(t, path)
}

func TestMaxBytes(t *testing.T) {
	data := content(1<<20, 15)
	for name, h := range map[string]*fakeHub{
		"size in the link":     {data: data, etag: `"v1"`, linked: true, noLength: true},
		"size of the answer":   {data: data, etag: `"v1"`},
		"no size":              {data: data, etag: `"v1"`, noLength: true},
		"no size after a drop": {data: data, etag: `"v1"`, noLength: true, drop: []int{300_000}},
	} {
		t.Run(name, func(t *testing.T) {
			h.start(t)
			dir := t.TempDir()
			path, err := pullFast(t.Context(), testRef, Options{Dir: dir, MaxBytes: 1<<20 - 1})
			assert.ErrorIs(t, err, ErrTooLarge)
			assert.NoFileExists(t, path)
			if info, err := os.Stat(path + ".partial"); err == nil {
				assert.Less(t, info.Size(), int64(len(data)), "bytes left on the disk")
			}
			path, err = pullFast(t.Context(), testRef, Options{Dir: dir, MaxBytes: 1 << 20})
			require.NoError(t, err, "a file of exactly the limit")
			got, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(data, got))
			// What is there needs no fetch.
			_, err = Pull(t.Context(), testRef, Options{Dir: dir, MaxBytes: 10})
			assert.NoError(t, err)
		})
	}
	_, err := Pull(t.Context(), testRef, Options{Dir: t.TempDir(), MaxBytes: -1})
	assert.ErrorContains(t, err, "MaxBytes is -1")
	_, err = Pull(t.Context(), "smollm2-135m-instruct", Options{Dir: t.TempDir(), MaxBytes: 1000})
	assert.ErrorIs(t, err, ErrTooLarge)
}

// An endless answer ends at the limit.
func TestEndlessAnswer(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		chunk := content(1<<16, 16)
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}))
	defer s.Close()
	t.Setenv("HF_ENDPOINT", s.URL)
	var most int64
	opts := Options{Dir: t.TempDir(), MaxBytes: 3 << 20, Progress: func(done, _ int64) { most = max(most, done) }}
	path, err := pullFast(t.Context(), testRef, opts)
	assert.ErrorIs(t, err, ErrTooLarge)
	assert.Equal(t, int64(3<<20+1), most)
	assert.NoFileExists(t, path+".partial")
}

// Processes that pull the same file at once fetch it once.
func TestConcurrentProcesses(t *testing.T) {
	data := content(1<<20, 17)
	h := &fakeHub{data: data, etag: `"v1"`, linked: true, drop: []int{400_000}}
	h.start(t)
	self, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	const processes = 4
	out := make([]string, processes)
	var wg sync.WaitGroup
	for i := range processes {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), self)
			cmd.Env = append(os.Environ(), "HUB_TEST_PULL="+dir, "GORACE="+noExitSleep)
			b, err := cmd.CombinedOutput()
			assert.NoError(t, err, string(b))
			out[i] = string(b)
		})
	}
	wg.Wait()
	path := filepath.Join(dir, "hf", "owner", "repo", "main", "dir", "model.gguf")
	for _, o := range out {
		assert.Equal(t, path+" "+sum(data), o)
	}
	assert.Len(t, h.requests, 2, "one fetch that was broken once")
	assert.NoFileExists(t, path+".partial")
}

// pullForTest is what the processes of TestConcurrentProcesses do.
func pullForTest(dir string) int {
	path, err := pullFast(context.Background(), testRef, Options{Dir: dir, Verify: true})
	if err != nil {
		fmt.Print(err)
		return 1
	}
	data, err := os.ReadFile(path)
	if err != nil {
		fmt.Print(err)
		return 1
	}
	fmt.Print(path, " ", sum(data))
	return 0
}

type smallDisk struct {
	w    io.Writer
	room int
}

func (s *smallDisk) Write(p []byte) (int, error) {
	n, err := s.w.Write(p[:min(len(p), s.room)])
	s.room -= n
	if err == nil && n < len(p) {
		err = errDiskFull
	}
	return n, err
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	data := content(1<<20, 11)
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		w.Write(data[:1000])
		w.(http.Flusher).Flush()
		cancel()
		<-release
	}))
	defer s.Close()
	defer close(release)
	t.Setenv("HF_ENDPOINT", s.URL)
	dir := t.TempDir()
	start := time.Now()
	_, err := Pull(ctx, testRef, Options{Dir: dir})
	assert.ErrorIs(t, err, context.Canceled)
	assert.Less(t, time.Since(start), 5*time.Second)
	_, err = Locate(t.Context(), testRef, Options{Dir: dir})
	assert.ErrorIs(t, err, ErrNotCached)
}

// A connection that stays open without sending is given up.
func TestStalledConnection(t *testing.T) {
	data := content(200_000, 12)
	release := make(chan struct{})
	var n atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			w.Header().Set("ETag", `"v1"`)
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
			w.Write(data[:1000])
			w.(http.Flusher).Flush()
			<-release
			return
		}
		w.Header().Set("ETag", `"v1"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}))
	defer s.Close()
	defer close(release)
	t.Setenv("HF_ENDPOINT", s.URL)
	tg, err := resolve(testRef, Options{Dir: t.TempDir()})
	require.NoError(t, err)
	tg.source.(*hubFile).stall = 50 * time.Millisecond
	tg.source.(*hubFile).pause = time.Millisecond
	require.NoError(t, install(t.Context(), tg, Options{}))
	assert.Equal(t, int32(2), n.Load())
}

func TestConcurrentPulls(t *testing.T) {
	data := content(300_000, 13)
	h := &fakeHub{data: data, etag: `"v1"`, linked: true, drop: []int{1000, 1000}}
	h.start(t)
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			path, err := pullFast(t.Context(), testRef, Options{Dir: dir})
			if assert.NoError(t, err) {
				got, err := os.ReadFile(path)
				assert.NoError(t, err)
				assert.True(t, bytes.Equal(data, got))
			}
		})
	}
	wg.Wait()
	assert.Len(t, h.requests, 3, "one fetch, two drops")
}

func TestLockWaitsAndCanBeCancelled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.lock")
	unlock, err := lock(t.Context(), path)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 120*time.Millisecond)
	defer cancel()
	_, err = lock(ctx, path)
	assert.True(t, errors.Is(err, context.DeadlineExceeded), "%v", err)
	unlock()
	unlock, err = lock(t.Context(), path)
	require.NoError(t, err)
	unlock()
}
