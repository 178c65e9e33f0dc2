// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package access

import (
	"net/http"
	"strings"

	"github.com/graphkv/graphkv/server"
)

// Authenticate passes requests with a known key on, in the key's namespace (see [server.WithNamespace]), and answers others with
// 401. Clients send the key as "Authorization: Bearer KEY". keys is asked at every request, so that it can return others after a reload.
// refused, if it is not nil, is told of every 401.
func Authenticate(keys func() *Keys, next http.Handler, refused func()) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		namespace, ok := keys().Namespace(bearer(r.Header))
		if !ok {
			if refused != nil {
				refused()
			}
			w.Header().Set("WWW-Authenticate", `Bearer realm="graphkv"`)
			server.Refuse(w, http.StatusUnauthorized, "invalid_api_key", "a valid API key is needed: Authorization: Bearer KEY", 0)
			return
		}
		next.ServeHTTP(w, r.WithContext(server.WithNamespace(r.Context(), namespace)))
	})
}

// bearer returns the key that a request presents, or "", which is no key.
func bearer(h http.Header) string {
	values := h["Authorization"]
	if len(values) != 1 {
		return ""
	}
	scheme, key, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.Trim(key, " ")
}
