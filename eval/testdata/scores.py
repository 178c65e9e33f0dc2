#!/usr/bin/env python3
"""Writes scores.json: texts, answers, and what SQuAD's measures make of them.

The formulas are written from their description in the SQuAD paper and its evaluation's
documented behaviour; words are those of the regex module, which the published Graph-KV
evaluation uses. Run once; needs `pip install regex`.
"""
import collections, json, random, string
import regex


def normalise(s):
    s = s.lower()
    s = "".join(c for c in s if c not in string.punctuation)
    s = regex.sub(r"\b(?:a|an|the)\b", " ", s)
    return " ".join(s.split())


def f1(got, want):
    got, want = got.split(), want.split()
    common = sum((collections.Counter(got) & collections.Counter(want)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(got), common / len(want)
    return 2 * precision * recall / (precision + recall)


fixed = [
    ("The cat", ["cat"]), ("  A  the An ", ["the"]), ("It was in Nepal.", ["Nepal", "Latvia"]), ("nepalese", ["Nepal"]),
    ("Beyoncé Knowles", ["beyonce\u0301", "BEYONCÉ"]), ("U.S.A.", ["USA", "US A"]), ("1,000 men", ["1000"]), ("$5_000", ["5000"]),
    ("It's a dog's life", ["its dogs life"]), ("ΟΔΟΣ", ["οδος", "οδοσ"]), ("İstanbul", ["istanbul", "i̇stanbul"]),
    ("a\u0301 propos", ["propos"]), ("éa thé theé", ["a"]), ("“quoted” text", ["quoted text", "quoted"]), ("x\u00a0y\u2003z", ["x y z"]),
    ("x\x1cy\x1fz\x85w", ["x y z w"]), ("the", ["a"]), ("", ["x"]), ("...", ["x", "the"]), ("yes yes no", ["yes no no"]),
    ("ﬁne STRASSE", ["fine strasse"]), ("a_b the-end an-other", ["ab theend another"]), ("a² the१ anⅣ", ["a²"]), ("the‿end a’s the…x", ["s"]),
    ("東京 a 大阪", ["東京 大阪"]), ("Ǆ ǅ a", ["ǆ ǆ"]), ("a\u200dn the\u200c x", ["x"]), ("A`B ~C^ <D> |E| =F+", ["ab c d e f"]), ("Ⓐ a Ⓑ", ["ⓐ ⓑ"]),
]
rng = random.Random(7)
alphabet = ["a", "an", "the", "The", "A", "cat", "Dog", "9", "née", "é", "-", ".", ",", "'", "’", "_", " ", " ", " ", "  ", "\n", "ß", "Ω", "x", "u0301"]
alphabet = ["\u0301" if a == "u0301" else a for a in alphabet]
for _ in range(300):
    make = lambda n: "".join(rng.choice(alphabet) for _ in range(n))
    fixed.append((make(rng.randrange(12)), [make(rng.randrange(1, 5)) for _ in range(rng.randrange(1, 4))]))

out = []
for text, answers in fixed:
    got = normalise(text)
    want = [normalise(a) for a in answers]
    out.append({
        "text": text, "answers": answers, "normalised": got, "subspan": any(w in got for w in want),
        "exact": any(w == got for w in want), "f1": max(f1(got, w) for w in want),
    })
with open("scores.json", "w", encoding="utf-8") as f:
    f.write("[\n" + ",\n".join(json.dumps(x) for x in out) + "\n]\n")
