// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
)

func TestRegisteredDocuments(t *testing.T) {
	s := serve(t, Options{})
	put := func(id, body string) shown {
		var d shown
		s.ok("PUT", "/v1/documents/"+url.PathEscape(id), body, &d)
		return d
	}
	resp, _ := s.do("PUT", "/v1/documents/a", `{"title":"A","text":"Ann did."}`)
	require.Equal(t, 201, resp.StatusCode)
	resp, _ = s.do("PUT", "/v1/documents/a", `{"title":"A","text":"Ann did it."}`)
	require.Equal(t, 200, resp.StatusCode, "replaced")
	d := put("b/ü #?", `{"id":"b/ü #?","text":"Bob did not.","links":["a"]}`)
	require.Equal(t, "b/ü #?", d.ID)
	require.Equal(t, len("Bob did not.\n"), d.Tokens)
	var got shown
	s.ok("GET", "/v1/documents/"+url.PathEscape("b/ü #?"), "", &got)
	require.Equal(t, "Bob did not.", got.Text)
	require.Equal(t, []string{"a"}, got.Links)
	require.Equal(t, stateRegistered, got.State)

	// By id or in full, it is the same request.
	ask := func(documents string) (r reply) {
		s.ok("POST", "/v1/chat/completions", chatBody(`,"max_tokens":9,"graphkv":{"strategy":"dag"},"documents":`+documents), &r)
		return r
	}
	full := ask(`[{"id":"a","title":"A","text":"Ann did it."},{"id":"b/ü #?","text":"Bob did not.","links":["a"]}]`)
	byID := ask(`["a",{"id":"b/ü #?"}]`)
	require.Equal(t, full.text(), byID.text())
	require.Equal(t, full.Usage.PromptTokens, byID.Usage.PromptTokens)
	require.Equal(t, byID.GraphKV.Usage.EncodedTokens, len("Hello\nassistant\n")+2, "the question alone")
	var native struct{ Text string }
	s.ok("POST", "/v1/graphkv/generate", `{"segments":[{"id":"a"},{"id":"new","text":"x"}],"query":"?","max_tokens":2}`, &native)

	s.refuse(404, "document_not_found", "POST", "/v1/chat/completions", chatBody(`,"documents":["a","c"]`))
	s.refuse(404, "document_not_found", "POST", "/v1/graphkv/generate", `{"segments":[{"id":"c"}],"query":"?"}`)
	s.refuse(404, "document_not_found", "GET", "/v1/documents/c", "")
	s.refuse(404, "document_not_found", "DELETE", "/v1/documents/c", "")

	// Another namespace sees nothing of it.
	s.refuse(404, "document_not_found", "POST", "/v1/chat/completions", chatBody(`,"documents":["a"]`), "X-Namespace", "other")
	s.refuse(404, "document_not_found", "GET", "/v1/documents/a", "", "X-Namespace", "other")
	s.refuse(404, "document_not_found", "DELETE", "/v1/documents/a", "", "X-Namespace", "other")

	var gone struct{ Deleted bool }
	s.ok("DELETE", "/v1/documents/a", "", &gone)
	require.True(t, gone.Deleted)
	s.refuse(404, "document_not_found", "GET", "/v1/documents/a", "")

	for body, code := range map[string]string{
		`{"text":""}`: "invalid_value", `{"title":"x"}`: "invalid_value", `{"id":"other","text":"x"}`: "invalid_value",
		`{"text":5}`: "invalid_type", `[]`: "invalid_type", `{"text":"x"`: "invalid_json",
	} {
		s.refuse(400, code, "PUT", "/v1/documents/a", body)
	}
	s.refuse(400, "invalid_value", "PUT", "/v1/documents/a%00", `{"text":"x"}`)
	s.refuse(400, "invalid_value", "PUT", "/v1/documents/a?prepare=perhaps", `{"text":"x"}`)
}

func TestListOfDocuments(t *testing.T) {
	s := serve(t, Options{})
	type list struct {
		Object  string
		Data    []shown
		HasMore bool   `json:"has_more"`
		LastID  string `json:"last_id"`
	}
	var l list
	s.ok("GET", "/v1/documents", "", &l)
	require.Empty(t, l.Data)
	require.NotNil(t, l.Data)
	for i := range 25 {
		s.ok("PUT", fmt.Sprintf("/v1/documents/%02d", i), `{"text":"x"}`, nil)
	}
	var ids []string
	after := ""
	for page := 0; ; page++ {
		l = list{}
		s.ok("GET", "/v1/documents?limit=10&after="+after, "", &l)
		for _, d := range l.Data {
			ids = append(ids, d.ID)
			require.Empty(t, d.Text)
		}
		if after = l.LastID; !l.HasMore {
			require.Equal(t, 2, page)
			break
		}
	}
	require.Len(t, ids, 25)
	require.IsIncreasing(t, ids)
	for _, limit := range []string{"0", "1001", "x", "-1"} {
		s.refuse(400, "invalid_value", "GET", "/v1/documents?limit="+limit, "")
	}
}

// Documents are encoded in the background, in few passes, and then found.
func TestPreparedDocuments(t *testing.T) {
	var prepared atomic.Int64
	s := serve(t, Options{Observer: Observer{Prepared: func(_ string, u graphkv.Usage, _ time.Duration, err error) {
		require.NoError(t, err)
		prepared.Add(int64(u.EncodedTokens))
	}}})
	want := 0
	for i := range 30 {
		var d shown
		resp, _ := s.do("PUT", fmt.Sprintf("/v1/documents/%d?prepare=true", i), fmt.Sprintf(`{"text":"number %d"}`, i), "X-Namespace", fmt.Sprint(i%2))
		require.Equal(t, 202, resp.StatusCode)
		s.ok("GET", fmt.Sprintf("/v1/documents/%d", i), "", &d, "X-Namespace", fmt.Sprint(i%2))
		want += d.Tokens
	}
	require.Eventually(t, func() bool { return prepared.Load() == int64(want) }, waitLong, waitShort)
	require.Eventually(t, func() bool {
		var d shown
		s.ok("GET", "/v1/documents/29", "", &d, "X-Namespace", "1")
		return d.State == statePrepared
	}, waitLong, waitShort)
	for i := range 30 {
		body := fmt.Sprintf(`{"strategy":"block","segments":[{"id":"%d"}],"query":"?"}`, i)
		var r struct{ Usage graphkv.Usage }
		s.ok("POST", "/v1/graphkv/prepare", body, &r, "X-Namespace", fmt.Sprint(i%2))
		require.Zero(t, r.Usage.EncodedTokens)
		require.NotZero(t, r.Usage.CachedTokens)
	}
}

// Namespaces share no cached passage, though they send the same text.
func TestNamespacesShareNothing(t *testing.T) {
	s := serve(t, Options{})
	cached := func(namespace string) int {
		var r reply
		s.ok("POST", "/v1/chat/completions", chatBody(`,"max_tokens":1,"documents":[{"id":"a","text":"Ann"}]`), &r, "X-Namespace", namespace)
		return r.Usage.Details.CachedTokens
	}
	require.Zero(t, cached("one"))
	require.NotZero(t, cached("one"))
	require.Zero(t, cached("two"))
	require.NotZero(t, cached("two"))
}
