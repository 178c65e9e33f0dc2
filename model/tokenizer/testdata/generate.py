#!/usr/bin/env python3
"""Writes the fixtures reference.json.gz and classes.json with Hugging Face's tokenizers (pip install tokenizers): generate.py, in this directory.

For each of the four pre-tokenizers, random strings with the pieces they are cut into (as byte lengths) and their ids, once with SmolLM2's
vocabulary and once with a small one trained for that pre-tokenizer, from which some merges are removed again: then a word of the
vocabulary can be out of the merges' reach, which shows what ignore_merges does, and numbers of several digits are tokens.

classes.json has the code points of \\p{L}, \\p{N} and \\s in the engine that runs the expressions, as first and last of every range.
"""
import gzip, json, random
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers as P, trainers

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def split(rx):
    return P.Split(Regex(rx), behavior="isolated", invert=False)


def level():
    return P.ByteLevel(add_prefix_space=False, use_regex=False)


PRE = {
    # (pre-tokenizer, the same without the mapping of bytes, ignore_merges)
    "smollm": (P.Sequence([P.Digits(individual_digits=True), P.ByteLevel(add_prefix_space=False, use_regex=True)]),
               P.Sequence([P.Digits(individual_digits=True), split(GPT2)]), False),
    "gpt-2": (P.ByteLevel(add_prefix_space=False, use_regex=True), split(GPT2), False),
    "llama-bpe": (P.Sequence([split(LLAMA3), level()]), split(LLAMA3), True),
    "qwen2": (P.Sequence([split(QWEN2), level()]), split(QWEN2), False),
}

rnd = random.Random(20250207)
vocab = json.load(gzip.open("smollm2.json.gz"))
specials = [vocab["tokens"][int(i)] for i, t in vocab["types"].items() if t == 3]
printable = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b]
spelling = {chr(b): b for b in printable}
spelling |= {chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in printable)}


def text(tok):
    try:
        return bytes(spelling[c] for c in tok).decode()
    except (KeyError, UnicodeDecodeError):
        return ""


words = [w for w in map(text, vocab["tokens"][17:]) if w]

SPACES = [" ", "  ", "   ", "\t", "\n", "\r", "\r\n", "\n\n", " \n", "\n ", "\x0b", "\x0c", "\x85", "\u00a0", "\u1680", "\u2003", "\u2028",
          "\u2029", "\u202f", "\u205f", "\u3000", "\u200b", "\ufeff", "\u180e", "\x1c", "\x00", "\x04"]
APOSTROPHES = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'RE", "'Ve", "'vE", "'M", "'LL", "'lL", "'D", "'ſ", "'x", "'", "''",
               "'l", "'r", "'v", "’s", "ʼs", " 's", "!'s", "'sx", "'ree", "'K"]
NUMBERS = ["0", "7", "42", "123", "1234", "98765", "3.14", "1,000,000", "²", "½", "Ⅷ", "१२३", "４５６", "〇", "①", "𝟙", "𐄇"]
LETTERS = ["a", "B", "é", "e\u0301", "ß", "İ", "ı", "ſ", "K", "ǅ", "中", "文字", "かな", "한", "한", "Ж", "ы", "ع", "א", "ก็", "नि", "ಕ್ಷ", "ﬁ",
           "ª", "ʰ", "𝔞", "𐍈", "𠜎", "𪚥", "ꟍ", "\U0002ebf0"]
SYMBOLS = list("!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~") + ["…", "—", "“", "€", "™", "😀", "👩‍👩‍👧", "🇩🇪", "\u0301", "\u200d", "\ufe0f", "\ufffd",
                                                       "\U000e0001", "\ue000", "\U0010ffff", "--", "...", "=>", "/*", "//", "\n}", ");\n"]


def code_point():
    while True:
        c = rnd.choice([rnd.randrange(0x80), rnd.randrange(0x800), rnd.randrange(0x10000), rnd.randrange(0x110000)])
        if not 0xD800 <= c < 0xE000:
            return chr(c)


def part(with_specials):
    k = rnd.random()
    if with_specials and k < 0.15:
        s = rnd.choice(specials)
        return s if rnd.random() < 0.8 else s[: rnd.randrange(1, len(s))]
    if k < 0.4:
        return rnd.choice(words)
    if k < 0.5:
        return code_point()
    return rnd.choice(rnd.choice([SPACES, SPACES, APOSTROPHES, NUMBERS, LETTERS, SYMBOLS]))


def strings(n, with_specials):
    out = ["", " ", "a" * 300, " " * 100, "\n" * 70 + "x", "ab" * 200, "1" * 50, "the" * 60 + "é" * 40, "=" * 200 + "\r\n\n"]
    while len(out) < n:
        out.append("".join(part(with_specials) for _ in range(rnd.randrange(1, 24))))
    return out


def build(tokens, merges, pre, ignore):
    t = Tokenizer(models.BPE(vocab={w: i for i, w in enumerate(tokens)}, merges=[tuple(m.split(" ")) for m in merges],
                             ignore_merges=ignore))
    t.pre_tokenizer, t.decoder = pre, decoders.ByteLevel()
    return t


def small(pre, ignore):
    """A vocabulary trained on words of the large one, spaces, numbers and apostrophes, with every sixth merge taken away."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre
    corpus = ["".join(part(False) for _ in range(200)) for _ in range(60)]
    corpus += [" ".join(str(rnd.randrange(10 ** rnd.randrange(1, 6))) for _ in range(300)) for _ in range(10)]
    corpus += [" ".join(w.strip() + rnd.choice(APOSTROPHES) for w in rnd.choices(words[:400], k=600)) for _ in range(20)]
    t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=1200, initial_alphabet=sorted(spelling), show_progress=False))
    model = json.loads(t.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [" ".join(m) for i, m in enumerate(model["merges"]) if i % 6 != 5]
    return tokens, merges


out = []
for name, (pre, bare, ignore) in PRE.items():
    for which in "smollm2", "small":
        tokens, merges = (vocab["tokens"], vocab["merges"]) if which == "smollm2" else small(pre, ignore)
        t = build(tokens, merges, pre, ignore)
        cases = []
        for s in strings(240, which == "smollm2"):
            pieces = [len(p.encode()) for p, _ in bare.pre_tokenize_str(s)]
            cases.append({"text": s, "pieces": pieces, "ids": t.encode(s).ids})
        entry = {"pre": name, "vocab": which, "cases": cases}
        if which == "smollm2":
            special = build(tokens, merges, pre, ignore)
            special.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in specials])
            for c in cases:
                c["special_ids"] = special.encode(c["text"]).ids
        else:
            entry |= {"tokens": tokens, "merges": merges}
        out.append(entry)
raw = json.dumps(out, ensure_ascii=False, separators=(",", ":")).encode()
with open("reference.json.gz", "wb") as f, gzip.GzipFile("", "wb", 9, f, mtime=0) as z:
    z.write(raw)


def members(rx):
    """The ranges of code points that rx, a class, matches."""
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    removed = P.Split(Regex(rx), behavior="removed", invert=False)
    ranges = []
    for k in range(0, len(points), 4096):
        block = points[k:k + 4096]
        kept = set("".join(p for p, _ in removed.pre_tokenize_str("".join(map(chr, block)))))
        for c in block:
            if chr(c) not in kept:
                if ranges and ranges[-1][1] == c - 1:
                    ranges[-1][1] = c
                else:
                    ranges.append([c, c])
    return ranges


with open("classes.json", "w") as f:
    json.dump({"letter": members(r"\p{L}"), "number": members(r"\p{N}"), "space": members(r"\s")}, f, separators=(",", ":"))
