// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package access

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/server"
)

const goodKey = "8Jw0rPbXkq2sUoYH3nTzLd"

// unread is a body that nobody may read.
type unread struct{ testing.TB }

func (u unread) Read([]byte) (int, error) {
	u.Error("the body of a request without a key was read")
	return 0, errors.New("not for reading")
}

// present sends a request with these Authorization headers and returns the answer and the namespace that it got to.
func present(t testing.TB, headers ...string) (*httptest.ResponseRecorder, string) {
	t.Helper()
	keys, err := ParseKeys("acme "+goodKey, "keys")
	require.NoError(t, err)
	namespace, refused := "nobody", 0
	h := Authenticate(func() *Keys { return keys }, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		namespace = server.Namespace(r.Context())
	}), func() { refused++ })
	r := httptest.NewRequest(http.MethodPost, "/v1/completions", unread{t})
	r.Header["Authorization"] = headers
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Equal(t, w.Code == http.StatusUnauthorized, refused == 1)
	return w, namespace
}

func TestAuthenticate(t *testing.T) {
	for _, header := range []string{"Bearer " + goodKey, "bearer " + goodKey, "BEARER   " + goodKey + " "} {
		w, namespace := present(t, header)
		require.Equal(t, http.StatusOK, w.Code)
		require.Equal(t, "acme", namespace)
	}
	first, namespace := present(t)
	require.Equal(t, "nobody", namespace)
	require.Equal(t, http.StatusUnauthorized, first.Code)
	require.Equal(t, `Bearer realm="graphkv"`, first.Header().Get("WWW-Authenticate"))
	var body struct {
		Error struct{ Message, Type, Code string }
	}
	require.NoError(t, json.Unmarshal(first.Body.Bytes(), &body))
	require.Equal(t, "invalid_api_key", body.Error.Code)

	// All that is wrong gets the same answer.
	for _, headers := range [][]string{
		{""}, {"Bearer"}, {"Bearer "}, {goodKey}, {"Basic " + goodKey}, {"Bearer " + goodKey[:21]}, {"Bearer " + goodKey + "x"}, {"Bearer x" + goodKey},
		{"Bearer " + strings.ToLower(goodKey)}, {"Bearer\t" + goodKey}, {"Bearer " + goodKey, "Bearer " + goodKey}, {"Bearer " + goodKey + ", Bearer " + goodKey},
	} {
		w, namespace := present(t, headers...)
		require.Equal(t, "nobody", namespace, headers)
		require.Equal(t, first.Result().Header, w.Result().Header, headers)
		require.Equal(t, first.Body.String(), w.Body.String(), headers)
		require.Equal(t, first.Code, w.Code, headers)
	}
}

// Keys that are replaced hold for the next request.
func TestAuthenticateAsksForKeysEveryTime(t *testing.T) {
	keys, err := ParseKeys("acme "+goodKey, "keys")
	require.NoError(t, err)
	h := Authenticate(func() *Keys { return keys }, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, server.Namespace(r.Context()))
	}), nil)
	ask := func() *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "/v1/models", nil)
		r.Header.Set("Authorization", "Bearer "+goodKey)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	require.Equal(t, "acme", ask().Body.String())
	keys, err = ParseKeys("globex "+goodKey, "keys")
	require.NoError(t, err)
	require.Equal(t, "globex", ask().Body.String())
	keys, err = ParseKeys("globex another-key-another-key", "keys")
	require.NoError(t, err)
	require.Equal(t, http.StatusUnauthorized, ask().Code)
}

// A header opens the namespace exactly when it is the word Bearer, blanks, and the key.
func FuzzAuthorization(f *testing.F) {
	for _, s := range []string{"", "Bearer " + goodKey, "bearer  " + goodKey + " ", "Basic Og==", "Bearer", "Bearer \x00", "Bearer " + goodKey + "\n", "\xff\xfe Bearer", "Bearer " + strings.Repeat("A", 1<<16)} {
		f.Add(s, "")
		f.Add(s, s)
	}
	good := regexp.MustCompile(`^(?i:bearer) +` + goodKey + ` *$`)
	f.Fuzz(func(t *testing.T, header, second string) {
		headers := []string{header}
		if second != "" {
			headers = append(headers, second)
		}
		w, namespace := present(t, headers...)
		if len(headers) == 1 && good.MatchString(header) && !strings.HasSuffix(header, "\n") {
			require.Equal(t, http.StatusOK, w.Code)
			require.Equal(t, "acme", namespace)
			return
		}
		require.Equal(t, http.StatusUnauthorized, w.Code)
		require.Equal(t, "nobody", namespace)
		require.NotContains(t, w.Body.String(), goodKey)
	})
}
