#!/usr/bin/env python3
"""Writes the tokenizer metadata of a GGUF file as gzipped JSON: vocab.py model.gguf out.json.gz (needs the gguf package)."""
import gzip, json, sys
from gguf import GGUFReader

fields = GGUFReader(sys.argv[1]).fields
get = lambda k: fields["tokenizer.ggml." + k].contents()
types = get("token_type")
out = {
    "model": get("model"), "pre": get("pre"), "bos": get("bos_token_id"), "eos": get("eos_token_id"),
    "add_bos": get("add_bos_token"), "tokens": get("tokens"), "merges": get("merges"),
    "types": {i: t for i, t in enumerate(types) if t != 1},  # all others are 1, normal
}
raw = json.dumps(out, ensure_ascii=False, separators=(",", ":")).encode()
with open(sys.argv[2], "wb") as f, gzip.GzipFile("", "wb", 9, f, mtime=0) as z:
    z.write(raw)
