// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"net/http"
	"slices"
	"strings"

	"github.com/graphkv/graphkv"
)

// route is an endpoint.
type route struct {
	method, path string
	dialect      dialect
	work         bool // takes a place at the gate
	do           func(*exchange) error
}

func table() []route {
	openAI := func(method, path string, work bool, do func(*exchange) error) route {
		return route{method, path, openAIError, work, do}
	}
	evaluation := func(path string, s graphkv.Strategy) route {
		return route{"POST", path, publishedError, true, publishedRoute(s)}
	}
	return []route{
		openAI("POST", "/v1/chat/completions", true, (*exchange).chat),
		openAI("POST", "/v1/completions", true, (*exchange).completeText),
		openAI("GET", "/v1/models", false, (*exchange).listModels),
		openAI("GET", "/v1/models/{id...}", false, (*exchange).getModel),
		openAI("GET", "/v1/documents", false, (*exchange).listDocuments),
		openAI("PUT", "/v1/documents/{id}", true, (*exchange).putDocument),
		openAI("GET", "/v1/documents/{id}", false, (*exchange).getDocument),
		openAI("DELETE", "/v1/documents/{id}", false, (*exchange).deleteDocument),
		openAI("POST", "/v1/graphkv/generate", true, (*exchange).generate),
		openAI("POST", "/v1/graphkv/prepare", true, (*exchange).prepare),
		openAI("POST", "/v1/graphkv/plan", true, (*exchange).plan),
		openAI("POST", "/v1/graphkv/explain", true, (*exchange).explain),
		openAI("POST", "/v1/graphkv/trace", true, (*exchange).trace),
		openAI("GET", "/v1/graphkv/strategies", false, (*exchange).listStrategies),
		evaluation("/generate_vanilla", graphkv.Sequential),
		evaluation("/generate_block", graphkv.Block),
		evaluation("/generate_gapemp", graphkv.GraphKV),
		evaluation("/generate_gapemp_appr", graphkv.GraphKVTopK),
	}
}

// routes returns the handler. What is not in the table is an error in OpenAI's form,
// like any other.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	methods := make(map[string][]string)
	for _, r := range table() {
		pattern := r.method + " " + r.path
		mux.Handle(pattern, s.serve(pattern, r.dialect, r.work, r.do))
		methods[r.path] = append(methods[r.path], r.method)
		if r.method == "GET" {
			methods[r.path] = append(methods[r.path], "HEAD") // the multiplexer lets it through
		}
	}
	for path, allowed := range methods {
		slices.Sort(allowed)
		mux.Handle(path, s.serve("", openAIError, false, func(x *exchange) error {
			x.w.Header().Set("Allow", strings.Join(allowed, ", "))
			e := invalid("", "method_not_allowed", "%s is not done here, but %s", x.r.Method, strings.Join(allowed, ", "))
			e.Status = http.StatusMethodNotAllowed
			return e
		}))
	}
	mux.Handle("/", s.serve("", openAIError, false, func(x *exchange) error {
		e := invalid("", "not_found", "there is nothing at this path")
		e.Status = http.StatusNotFound
		return e
	}))
	return mux
}

// model is one of the list of models.
type model struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
	Context int    `json:"max_model_len"` // as other servers call it
}

func (s *Server) shownModel() model {
	return model{s.model, "model", s.created.Unix(), "graphkv", s.engine.Model().Config().Context}
}

func (x *exchange) listModels() error {
	return x.write(http.StatusOK, struct {
		Object string  `json:"object"`
		Data   []model `json:"data"`
	}{"list", []model{x.shownModel()}})
}

func (x *exchange) getModel() error {
	if id := x.r.PathValue("id"); id != x.Server.model {
		return unknownModel(id)
	}
	return x.write(http.StatusOK, x.shownModel())
}

func unknownModel(id string) *apiError {
	e := invalid("model", "model_not_found", "there is no model %q here; see /v1/models", id)
	e.Status = http.StatusNotFound
	return e
}
