// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	_ "embed"
	"encoding/json"
)

// documents is a question over titled passages that link to one another.
type documents struct {
	Question  string     `json:"question"`
	Center    string     `json:"center"`
	Documents []document `json:"documents"`
}

type document struct {
	ID    string   `json:"id"`
	Title string   `json:"title"`
	Text  string   `json:"text"`
	Links []string `json:"links"` // documents that this one cites: its sources
}

//go:embed demo.json
var demoJSON []byte

// demo returns the built-in passages.
func demo() *documents {
	var d documents
	if err := json.Unmarshal(demoJSON, &d); err != nil {
		panic("demo.json: " + err.Error()) // embedded, and read by a test
	}
	return &d
}
