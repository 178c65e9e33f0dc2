// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package tokenizer

// preTokenizer is what the name in tokenizer.ggml.pre stands for.
type preTokenizer struct {
	splitter
	// ignoreMerges takes a piece that is a whole entry of the vocabulary as it is, merges or not.
	ignoreMerges bool
	// addBOS is the default for files that do not say.
	addBOS bool
}

// lookupPre knows the names that llama.cpp gives to the four expressions of this package. Names whose expressions differ, if only in how
// numbers are cut, are not accepted in the place of another: text would be split almost right.
func lookupPre(name string) (preTokenizer, bool) {
	var p preTokenizer
	switch name {
	case "smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2":
		p.digits = true
	case "gpt-2", "phi-2", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "gigachat", "a.x-4.0", "mellum", "modern-bert", "exaone4",
		"mpt", "olmo", "jais", "trillion", "granite-docling":
	case "llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano":
		p.llama3, p.maxNumber = true, 3
		p.ignoreMerges, p.addBOS = true, true
	case "dbrx", "smaug-bpe", "glm4", "chatglm-bpe":
		p.llama3, p.maxNumber = true, 3
	case "qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2":
		p.llama3, p.maxNumber = true, 1
	default:
		return preTokenizer{}, false
	}
	p.table = classes()
	return p, true
}
