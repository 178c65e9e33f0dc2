// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package tokenizer

// Encode appends the tokens of text to dst. With special set, control and user-defined tokens written out in text become themselves,
// the leftmost first and the longest of those that start together; otherwise they are text like any other and no control token is ever
// appended, which is what text from outside needs. No token is added in front or behind.
//
// Text need not be valid UTF-8: a byte that is not part of a character counts as a symbol, as U+FFFD does, and is encoded as it is. Bytes
// for which the vocabulary has no token are left out. Encode allocates nothing if dst has room, once the workspaces have grown to the longest word.
func (t *Tokenizer) Encode(dst []int32, text string, special bool) []int32 {
	w := t.work.Get().(*workspace)
	dst = t.encode(dst, w, text, special)
	if cap(w.ids) <= maxKept {
		t.work.Put(w)
	}
	return dst
}

// maxKept is the number of symbols up to which a workspace, at 28 bytes a symbol or so, is kept for the next call.
const maxKept = 1 << 16

func (t *Tokenizer) encode(dst []int32, w *workspace, text string, special bool) []int32 {
	for len(text) > 0 {
		plain, rest, id := text, "", NoToken
		if special {
			i, j, found := t.special.find(text)
			plain, rest, id = text[:i], text[j:], found
		}
		dst = t.encodePlain(dst, w, plain)
		if id != NoToken {
			dst = append(dst, id)
		}
		text = rest
	}
	return dst
}

func (t *Tokenizer) encodePlain(dst []int32, w *workspace, s string) []int32 {
	for i := 0; i < len(s); {
		e := t.pre.next(s, i)
		if e == i+1 {
			if id := t.byteID[s[i]]; id != NoToken {
				dst = append(dst, id)
			}
		} else if id, ok := t.words[s[i:e]]; ok {
			dst = append(dst, id)
		} else {
			dst = append(dst, t.mergeBytes(w, s[i:e])...)
		}
		i = e
	}
	return dst
}

// mergeBytes returns the tokens of one piece, valid until w is used again.
func (t *Tokenizer) mergeBytes(w *workspace, piece string) []int32 {
	w.ids = w.ids[:0]
	for i := 0; i < len(piece); i++ {
		if id := t.byteID[piece[i]]; id != NoToken {
			w.ids = append(w.ids, id)
		}
	}
	return t.merges.merge(w)
}

// AppendToken appends the bytes of token id to dst: those of a control token are its spelling. A token can begin or end inside a UTF-8
// character. An id that is not in the vocabulary adds nothing.
func (t *Tokenizer) AppendToken(dst []byte, id int32) []byte {
	if !t.known(id) {
		return dst
	}
	return append(dst, t.bytes[t.offsets[id]:t.offsets[id+1]]...)
}

// Decode returns the bytes of all tokens in turn, as AppendToken does: what Encode was given, if every byte of it has a token.
func (t *Tokenizer) Decode(ids []int32) string {
	n := 0
	for _, id := range ids {
		if t.known(id) {
			n += int(t.offsets[id+1] - t.offsets[id])
		}
	}
	dst := make([]byte, 0, n)
	for _, id := range ids {
		dst = t.AppendToken(dst, id)
	}
	return string(dst)
}
