// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package browsertest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/hub"
	"github.com/graphkv/graphkv/server"
	"github.com/graphkv/graphkv/server/access"
	"github.com/graphkv/graphkv/server/page"
)

// browser opens the page of a fresh server over the built-in model in a headless browser. What the page's console complains of fails
// the test.
func browser(t *testing.T) (ctx context.Context, url string) {
	t.Helper()
	ctx, url = browserBehind(t, func(h http.Handler) http.Handler { return h })
	wait(t, ctx, connected)
	return ctx, url
}

// connected is when the page knows the server's strategies.
const connected = `document.querySelectorAll("input[name=strategy]").length > 5`

// browserBehind is browser with something between the page and the server's API; it does not wait for the page to be connected.
func browserBehind(t *testing.T, front func(http.Handler) http.Handler) (ctx context.Context, url string) {
	t.Helper()
	path := chromium()
	if path == "" {
		if os.Getenv("GRAPHKV_REQUIRE_BROWSER") != "" {
			t.Fatal("no Chromium on this machine")
		}
		t.Skip("no Chromium on this machine")
	}
	if testing.Short() && os.Getenv("GRAPHKV_REQUIRE_BROWSER") == "" {
		t.Skip("takes a browser and the model")
	}
	model, err := hub.Pull(t.Context(), "smollm2-135m-instruct", hub.Options{})
	require.NoError(t, err)
	engine, err := graphkv.Open(model)
	require.NoError(t, err)
	s, err := server.New(server.Options{Engine: engine, Model: "smollm2"})
	require.NoError(t, err)
	listener := httptest.NewServer(page.Handler(front(s.Handler())))
	t.Cleanup(func() {
		listener.Close()
		require.NoError(t, engine.Close())
	})
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.ExecPath(path))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(allocator)
	t.Cleanup(stop)
	ctx, stop = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(stop)
	do(t, ctx, chromedp.EmulateViewport(1280, 900))
	var mu sync.Mutex
	var complaints []string
	go func() {
		for m, err := range chromedp.Console(ctx) {
			if err != nil {
				return
			}
			refused := strings.HasSuffix(m.Text, "status of 401 (Unauthorized)") || strings.HasSuffix(m.Text, "status of 429 (Too Many Requests)")
			if m.Type == chromedp.ConsoleException || m.Type == "error" && !refused {
				mu.Lock()
				complaints = append(complaints, m.Text)
				mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		require.Empty(t, complaints)
	})
	do(t, ctx, chromedp.Navigate(listener.URL))
	return ctx, listener.URL
}

func chromium() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

func do(t *testing.T, ctx context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	require.NoError(t, chromedp.Do(ctx, steps...))
}

func eval[T any](t *testing.T, ctx context.Context, script string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script))
	require.NoError(t, err, script)
	return v
}

func wait(t *testing.T, ctx context.Context, condition string) {
	t.Helper()
	_, err := chromedp.Run(ctx, chromedp.Poll[bool](condition))
	require.NoError(t, err, condition)
}

// ask presses Ask and waits until every strategy has answered and has been explained.
func ask(t *testing.T, ctx context.Context) {
	t.Helper()
	do(t, ctx, chromedp.Click(chromedp.CSS("#go")))
	wait(t, ctx, `document.querySelector("#status").textContent === "Done."`)
	require.Equal(t, []string{"done", "done"}, eval[[]string](t, ctx, `[...document.querySelectorAll(".answer")].map(a => a.dataset.state)`),
		eval[string](t, ctx, `document.querySelector("#answers").textContent`))
}

// figure reads a number of the answer under a strategy.
func figure(t *testing.T, ctx context.Context, strategy, name string) float64 {
	t.Helper()
	text := eval[string](t, ctx, `document.querySelector("[data-strategy=`+strategy+`] [data-figure=`+name+`]").textContent`)
	number, _, _ := strings.Cut(text, " ")
	v, err := strconv.ParseFloat(number, 64)
	require.NoError(t, err)
	return v
}

func TestAskingTwice(t *testing.T) {
	ctx, _ := browser(t)
	ask(t, ctx)
	require.Contains(t, eval[string](t, ctx, `document.querySelector("[data-strategy=graphkv] .text").textContent`), "Gehry")
	cold := figure(t, ctx, "graphkv", "ttft")
	require.Less(t, figure(t, ctx, "graphkv", "reused"), 40.0, "no more than the prompt in front, which sequential has read before")
	require.Equal(t, 5, eval[int](t, ctx, `document.querySelectorAll("#graph .node.encoded").length`))

	// Masses of the answer's reads are at most 1 together, and widths follow them.
	require.Positive(t, eval[int](t, ctx, `document.querySelectorAll("#graph .edge.mass").length`))
	require.Positive(t, eval[int](t, ctx, `document.querySelectorAll("#mass tbody tr").length`))
	do(t, ctx, chromedp.Click(chromedp.CSS("#mask-box summary")))
	require.NotEmpty(t, eval[string](t, ctx, `document.querySelector("#mask .full").getAttribute("d")`))
	require.Regexp(t, `^Block mask: \d+ tokens in 12 nodes`, eval[string](t, ctx, `document.querySelector("#mask").getAttribute("aria-label")`))

	warm := cold
	for range 3 { // the best of some, since the browser works on the same processors
		ask(t, ctx)
		warm = min(warm, figure(t, ctx, "graphkv", "ttft"))
	}
	t.Logf("first token after %.0f ms, and warm after %.0f ms", cold, warm)
	require.LessOrEqual(t, warm, cold/10, "the passages are cached")
	require.Less(t, figure(t, ctx, "graphkv", "encoded"), 80.0, "the question alone")
	require.Equal(t, 5, eval[int](t, ctx, `document.querySelectorAll("#graph .node.cached").length`))
	if name := os.Getenv("GRAPHKV_SCREENSHOT"); name != "" {
		do(t, ctx, chromedp.EmulateViewport(1280, 900))
		picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(name, picture, 0o644))
	}
}

func TestEdges(t *testing.T) {
	ctx, _ := browser(t)
	links := func() map[string][]string {
		return eval[map[string][]string](t, ctx,
			`Object.fromEntries(JSON.parse(localStorage.getItem("graphkv-passages")).filter(p => p.links.length).map(p => [p.id, p.links]))`)
	}
	do(t, ctx, chromedp.Click(chromedp.CSS("#edges-none")))
	require.Empty(t, links())
	do(t, ctx, chromedp.DragAndDrop(chromedp.CSS(`[data-node=gehry] rect`), chromedp.CSS(`[data-node=museum] rect`)))
	require.Equal(t, map[string][]string{"museum": {"gehry"}}, links())
	// The same by keyboard, and away again.
	do(t, ctx, chromedp.Evaluate[chromedp.Void](`document.querySelector("[data-node=puppy]").focus()`), chromedp.KeyEvent("\r"))
	do(t, ctx, chromedp.Evaluate[chromedp.Void](`document.querySelector("[data-node=river]").focus()`), chromedp.KeyEvent("\r"))
	require.Equal(t, map[string][]string{"museum": {"gehry"}, "river": {"puppy"}}, links())
	do(t, ctx, chromedp.Evaluate[chromedp.Void](`document.querySelector("[data-edge='puppy river']").focus()`), chromedp.KeyEvent("\u007f"))
	require.Equal(t, map[string][]string{"museum": {"gehry"}}, links())
	require.Equal(t, "river", eval[string](t, ctx, `document.activeElement.dataset.node`), "who works with the keyboard is not sent back to the top")
	do(t, ctx, chromedp.Click(chromedp.CSS("#edges-last")))
	require.Len(t, links()["museum"], 4)
}

// A server that wants a key gets one, and what it refuses is said in its own words.
func TestKeysAndRefusals(t *testing.T) {
	const key = "8Jw0rPbXkq2sUoYH3nTzLd"
	var keys atomic.Pointer[access.Keys]
	use := func(key string) {
		k, err := access.ParseKeys("acme "+key, "keys")
		require.NoError(t, err)
		keys.Store(k)
	}
	use(key)
	var busy atomic.Bool
	ctx, _ := browserBehind(t, func(api http.Handler) http.Handler {
		return access.Authenticate(keys.Load, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if busy.Load() && r.Method == http.MethodPost {
				server.Refuse(w, http.StatusTooManyRequests, "queue_full", "too many requests are waiting", 7*time.Second)
				return
			}
			api.ServeHTTP(w, r)
		}), nil)
	})
	says := func(id, text string) {
		wait(t, ctx, `document.querySelector("`+id+`").textContent.includes("`+text+`")`)
	}
	says("#model", "wants an API key")
	do(t, ctx, chromedp.SendKeys(chromedp.CSS("#key"), "wrong\r"))
	says("#model", "does not know the API key")
	do(t, ctx, chromedp.Evaluate[chromedp.Void](`document.querySelector("#key").value = ""`), chromedp.SendKeys(chromedp.CSS("#key"), key+"\r"))
	wait(t, ctx, connected)
	require.False(t, eval[bool](t, ctx, `document.querySelector("#key").checkVisibility()`))

	busy.Store(true)
	do(t, ctx, chromedp.Click(chromedp.CSS("#go")))
	says("#status", "2 of 2 failed: too many requests are waiting; try again in 7 s")
	require.False(t, eval[bool](t, ctx, `document.querySelector("#go").disabled`))
	busy.Store(false)
	do(t, ctx, chromedp.Evaluate[chromedp.Void](`document.querySelector("#max-tokens").value = 2`))
	ask(t, ctx)

	use("another-key-of-acme") // the one that the page has is taken out of use
	do(t, ctx, chromedp.Click(chromedp.CSS("#go")))
	says("#model", "does not know the API key")
	require.True(t, eval[bool](t, ctx, `document.querySelector("#key").checkVisibility()`))
}

func TestPastingAndThemes(t *testing.T) {
	ctx, url := browser(t)
	count := func() int { return eval[int](t, ctx, `document.querySelectorAll("#passages > li").length`) }
	before := count()
	do(t, ctx, chromedp.Click(chromedp.CSS("#paste")), chromedp.SendKeys(chromedp.CSS("#paste-text"), "# One\nThe first.\n\n<b>The second</b> has no title.\n"))
	do(t, ctx, chromedp.Click(chromedp.CSS("#paste-do")))
	require.Equal(t, before+2, count())
	require.Zero(t, eval[int](t, ctx, `document.querySelectorAll("#graph b, #passages b").length`), "text is never markup")
	do(t, ctx, chromedp.Navigate(url))
	wait(t, ctx, `document.querySelectorAll("#passages > li").length > 0`)
	require.Equal(t, before+2, count(), "passages outlive the visit")

	background := `getComputedStyle(document.body).backgroundColor`
	first := eval[string](t, ctx, background)
	do(t, ctx, chromedp.Click(chromedp.CSS("#theme")))
	require.NotEqual(t, first, eval[string](t, ctx, background))

	// Everything that can be operated has a name, and can be reached by keyboard.
	require.Empty(t, eval[[]string](t, ctx, `[...document.querySelectorAll("button, input, select, textarea, [role=button]")].filter(e =>
		!(e.getAttribute("aria-label") || e.title || e.textContent.trim() || e.labels?.length) || e.tabIndex < 0).map(e => e.outerHTML)`))
	require.Equal(t, "en", eval[string](t, ctx, `document.documentElement.lang`))
	require.Empty(t, eval[[]string](t, ctx, `performance.getEntriesByType("resource").map(r => r.name).filter(n => !n.startsWith(location.origin))`),
		"nothing comes from elsewhere")
}
