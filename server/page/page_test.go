// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package page

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func get(t *testing.T, h http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestFiles(t *testing.T) {
	h := Handler(http.NotFoundHandler())
	for path, kind := range map[string]string{
		"/": "text/html; charset=utf-8", "/index.html": "text/html; charset=utf-8", "/app.js": "text/javascript; charset=utf-8",
		"/style.css": "text/css; charset=utf-8", "/icon.svg": "image/svg+xml",
	} {
		w := get(t, h, "GET", path)
		require.Equal(t, 200, w.Code, path)
		require.Equal(t, kind, w.Header().Get("Content-Type"), path)
		require.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'")
		again := get(t, h, "GET", path, "If-None-Match", w.Header().Get("ETag"))
		require.Equal(t, 304, again.Code, path)
		require.Zero(t, again.Body.Len())
	}
	for _, path := range []string{"/static/app.js", "/../page.go", "/v1/models", "//"} {
		require.Equal(t, 404, get(t, h, "GET", path).Code, path)
	}
	require.Equal(t, 404, get(t, h, "POST", "/").Code, "left to the API")
}

// What a file refers to is there, and nothing is elsewhere.
func TestReferences(t *testing.T) {
	h := Handler(http.NotFoundHandler())
	reference := regexp.MustCompile(`(?:href|src)="([^"#]+)"|from "\./([^"]+)"`)
	seen := 0
	require.NoError(t, fs.WalkDir(static, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := static.ReadFile(name)
		require.NoError(t, err)
		for _, m := range reference.FindAllStringSubmatch(string(data), -1) {
			require.Equal(t, 200, get(t, h, "GET", "/"+m[1]+m[2]).Code, "%s: %s", name, m[0])
			seen++
		}
		for _, scheme := range []string{"http://", "https://"} {
			text := strings.ReplaceAll(string(data), "http://www.w3.org/2000/svg", "")
			require.NotContains(t, text, scheme, name)
		}
		return nil
	}))
	require.Greater(t, seen, 10)
}
