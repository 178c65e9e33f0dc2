# Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0
"""What users of OpenAI's Python package do, against the server whose URL is the argument."""

import asyncio
import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
model = client.models.list().data[0].id
assert client.models.retrieve(model).id == model

question = dict(
    model=model,
    messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who did it?"}],
    temperature=0,
    max_tokens=20,
    seed=1,
    extra_body={
        "documents": [
            {"id": "a", "title": "A", "text": "Ann did it."},
            {"id": "b", "text": "Bob did not.", "links": ["a"]},
        ],
        "graphkv": {"strategy": "dag"},
    },
)
whole = client.chat.completions.create(**question)
text = whole.choices[0].message.content
assert len(text) == 20 and whole.choices[0].finish_reason == "length", whole
assert whole.usage.total_tokens == whole.usage.prompt_tokens + 20
assert whole.usage.prompt_tokens_details.cached_tokens == 0

streamed, usage, reason = "", None, None
for chunk in client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **question):
    usage = chunk.usage or usage
    for choice in chunk.choices:
        streamed += choice.delta.content or ""
        reason = choice.finish_reason or reason
assert streamed == text and reason == "length", (streamed, text, reason)
assert usage.prompt_tokens == whole.usage.prompt_tokens
assert usage.prompt_tokens_details.cached_tokens > 0

stop = text[10:12]
with client.chat.completions.stream(stop=[stop], **question) as events:
    choice = events.get_final_completion().choices[0]
    assert choice.message.content == text.split(stop)[0] and choice.finish_reason == "stop", choice

completion = client.completions.create(model=model, prompt="Once", temperature=0, max_tokens=5)
pieces = client.completions.create(model=model, prompt="Once", temperature=0, max_tokens=5, stream=True)
assert "".join(p.choices[0].text for p in pieces) == completion.choices[0].text

try:
    client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}], n=2)
    raise SystemExit("n=2 was not refused")
except openai.BadRequestError as e:
    assert e.code == "unsupported_value" and e.param == "n", e
try:
    client.chat.completions.create(model="other", messages=[{"role": "user", "content": "x"}])
    raise SystemExit("another model was not refused")
except openai.NotFoundError as e:
    assert e.code == "model_not_found", e


async def several():
    client = openai.AsyncOpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)

    async def one():
        out = ""
        async for chunk in await client.chat.completions.create(stream=True, **question):
            out += chunk.choices[0].delta.content or ""
        return out

    assert await asyncio.gather(*[one() for _ in range(8)]) == [text] * 8


asyncio.run(several())
print("ok")
