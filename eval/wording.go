// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package eval

import (
	"regexp"
	"strings"
)

// Wording is the published evaluation's text around documents and question, between
// the marks of the chat template.
type Wording struct {
	Instruction   string // before the documents
	Before, After string // around the question
}

const (
	assistant = "You are an intelligent AI assistant. "
	consult   = assistant + "Please answer questions based on the user's instructions. " +
		"Below are some reference documents that may help you in answering the user's question.\n\n"
	write = "Please write a high-quality answer for the given question using only the provided search documents"
)

// Wording returns the text that is published for the format's task.
func (f Format) Wording() Wording {
	switch f {
	case MultiHop:
		return Wording{consult, write + ". The answer to the question is a word or entity. " +
			"If the provided information is insufficient to answer the question, respond 'Insufficient Information'. " +
			"Please finally give your answer started with: 'The answer is:'. \n Question: ", " "}
	case MoreHop:
		return Wording{consult, write + ". (If the answer is a date, format is as follows: YYYY-MM-DD (ISO standard).) " +
			"After thinking step by step, give your final answer following 'Answer:' \n Question: ", " "}
	case ArxivQA:
		return Wording{assistant + "You will first read the related works of a paper, then you will read the paper. " +
			"Then answer the question.\n\n", "\n Question: ", " "}
	}
	return Wording{consult, write + " (some of which might be irrelevant). \n Question: ", " "}
}

// Block returns a document as the published evaluation writes it.
func (f Format) Block(d Document) string {
	switch {
	case f == ArxivQA:
		return d.Text
	case f == MultiHop: // its texts begin with a header that holds the title
		return strings.ReplaceAll(d.Text, "[Excerpt from document]\nt", "T") + "\n"
	case d.Title == "":
		return d.Text + "\n"
	}
	return "- Title: " + d.Title + "\n" + d.Text + "\n"
}

// What stands between the papers of ArxivQA where all is one text.
const (
	betweenPapers = "\n\n"
	beforeCenter  = "\n\n Now please read the paper:"
)

var finalAnswer = map[Format]*regexp.Regexp{
	MultiHop: regexp.MustCompile(`(?i)the answer is:?\s*(.*)`),
	MoreHop:  regexp.MustCompile(`(?i)answer:\s*(.*)`),
}

// Final returns the part of a generated text that is scored: what follows the last
// mark of a final answer where the wording asks for one and the text has it.
func (f Format) Final(text string) string {
	if mark := finalAnswer[f]; mark != nil {
		if found := mark.FindAllStringSubmatch(text, -1); found != nil {
			return found[len(found)-1][1]
		}
	}
	return text
}
