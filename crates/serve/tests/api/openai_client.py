"""The official `openai` client against a running server: python openai_client.py BASE_URL KEY MODEL.

Everything is called as its documentation says; nothing here knows whose server it is.
"""

import sys

import openai

base_url, key, model = sys.argv[1:]
client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)
messages = [{"role": "system", "content": "Отвечай кратко."}, {"role": "user", "content": "Привет 🦙! Кто ты?"}]

# Models
ids = [m.id for m in client.models.list()]
assert model in ids, ids
assert client.models.retrieve(model).id == model

# Chat
chat = client.chat.completions.create(model=model, messages=messages, max_tokens=20, temperature=0, seed=1)
choice = chat.choices[0]
assert choice.message.role == "assistant" and isinstance(choice.message.content, str)
assert choice.finish_reason in ("stop", "length")
assert chat.usage.prompt_tokens > 0
assert chat.usage.total_tokens == chat.usage.prompt_tokens + chat.usage.completion_tokens
again = client.chat.completions.create(model=model, messages=messages, max_completion_tokens=20, temperature=0)
assert again.choices[0].message.content == choice.message.content

# Streaming
parts, finish, usage = [], None, None
stream = client.chat.completions.create(
    model=model, messages=messages, max_tokens=20, temperature=0, stream=True, stream_options={"include_usage": True}
)
for chunk in stream:
    usage = chunk.usage or usage
    for c in chunk.choices:
        parts.append(c.delta.content or "")
        finish = c.finish_reason or finish
assert "".join(parts) == choice.message.content, (parts, choice.message.content)
assert finish == choice.finish_reason and usage.completion_tokens == chat.usage.completion_tokens

# Cyrillic and emoji, hot, many draws: never a broken character
for seed in range(4):
    hot = client.chat.completions.create(
        model=model, messages=messages, max_tokens=120, temperature=2.0, top_p=0.99, seed=seed, n=2, stream=True
    )
    text = "".join(c.delta.content or "" for chunk in hot for c in chunk.choices)
    assert "\ufffd" not in text and text

# Log-probabilities
probs = client.chat.completions.create(
    model=model, messages=messages, max_tokens=3, logprobs=True, top_logprobs=2, temperature=0
)
entries = probs.choices[0].logprobs.content
assert entries and all(e.logprob <= 0 and len(e.top_logprobs) == 2 for e in entries)
assert all(bytes(e.bytes) is not None for e in entries)

# Completions, whole and streamed, text and tokens
done = client.completions.create(model=model, prompt="Once upon a time", max_tokens=8, temperature=0, logprobs=1)
assert isinstance(done.choices[0].text, str) and done.choices[0].logprobs.tokens
parts = client.completions.create(model=model, prompt="Once upon a time", max_tokens=8, temperature=0, stream=True)
assert "".join(c.choices[0].text for c in parts if c.choices) == done.choices[0].text
two = client.completions.create(model=model, prompt=["one", "two"], n=2, max_tokens=4)
assert [c.index for c in two.choices] == [0, 1, 2, 3]
stopped = client.chat.completions.create(
    model=model, messages=messages, max_tokens=20, temperature=0, stop=[choice.message.content[2:4]]
)
assert stopped.choices[0].message.content == choice.message.content.split(choice.message.content[2:4])[0]
assert stopped.choices[0].finish_reason == "stop"


def fails(kind, call, **expected):
    try:
        call()
    except kind as error:
        for name, value in expected.items():
            assert getattr(error, name) == value, (name, getattr(error, name), value)
        return
    raise AssertionError(f"no {kind.__name__}")


def create(**changes):
    fields = {"model": model, "messages": messages, "max_tokens": 4}
    return lambda: client.chat.completions.create(**{**fields, **changes})


# Errors as the client's own exceptions
fails(openai.NotFoundError, create(model="gpt-4o"), code="model_not_found", param="model")
fails(openai.BadRequestError, create(temperature=9), param="temperature")
fails(openai.BadRequestError, create(messages=[]), param="messages")
fails(openai.BadRequestError, create(tools=[{"type": "function", "function": {"name": "f"}}]), param="tools")
stranger = openai.OpenAI(base_url=base_url, api_key="wrong", max_retries=0)
fails(openai.AuthenticationError, lambda: stranger.models.list(), code="invalid_api_key")

# Leaving in the middle of a stream is no error to the next request
stream = client.chat.completions.create(model=model, messages=messages, max_tokens=300, stream=True)
next(iter(stream))
stream.close()
assert create()().choices[0].message is not None
print("openai", openai.__version__, "ok")
