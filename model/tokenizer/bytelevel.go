// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package tokenizer

// A byte-level vocabulary is written in 256 printable code points, one for every byte: printable Latin-1 stands for itself, and the
// other 68 bytes, in order, for U+0100 and up (Radford et al. 2019, released code).

// byteRunes gives the code point of every byte, runeBytes the byte of every code point below its length, or −1.
var byteRunes, runeBytes = func() (enc [256]rune, dec [256 + 68]int16) {
	for i := range dec {
		dec[i] = -1
	}
	next := rune(256)
	for b := range enc {
		r := rune(b)
		if !('!' <= r && r <= '~' || 0xa1 <= r && r <= 0xac || 0xae <= r && r <= 0xff) {
			r = next
			next++
		}
		enc[b] = r
		dec[r] = int16(b)
	}
	return enc, dec
}()

// appendBytes appends the bytes that the vocabulary entry tok stands for. An entry with a code point outside the alphabet, which no
// merge of bytes can make, stands for its own text, as in Hugging Face's decoder.
func appendBytes(dst []byte, tok string) []byte {
	start := len(dst)
	for _, r := range tok {
		if int(r) >= len(runeBytes) || runeBytes[r] < 0 {
			return append(dst[:start], tok...)
		}
		dst = append(dst, byte(runeBytes[r]))
	}
	return dst
}
