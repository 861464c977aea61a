"""What a server says, read within bounds: JSON, server-sent events, and errors in one line."""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import msgspec

from ..errors import PhiError, PromptTooLong

KEY = "PHI_MAGIC_API_KEY"
MOST_EVENT = 4 << 20  # bytes of an event of a stream: some thousand times what a token takes
#: How vLLM (0.6 to 0.33) and llama_cpp.server say how long a prompt is, and how long it may be.
_TOKENS = r"(\d{1,9}) (?:in the messages|in (?:the|your) prompt|input tokens)"
_CONTEXT = r"context length is (?:only )?(\d{1,9})"
_ANSWER = r"(\d{1,9}) (?:output tokens|(?:in|for) the completion)"
_MOST_SAID = 300  # characters shown of what a server says


Said = TypeVar("Said")


def decoded(content: bytes, kind: type[Said]) -> Said:
    """Read JSON.

    Raises:
        msgspec.DecodeError: it is none, of another form, or nested too deep.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except RecursionError:
        raise msgspec.DecodeError("it is nested too deep") from None


def deep(said: Any, levels: int) -> bool:
    """Whether a value has more levels than it may have."""
    inner = said.values() if isinstance(said, dict) else said if isinstance(said, list) else ()
    return levels == 0 or any(deep(one, levels - 1) for one in inner)


async def events(pieces: AsyncIterator[bytes], base: str, *, most: int, silence: float) -> AsyncIterator[bytes]:
    """The data of server-sent events, however the bytes are cut.

    llama-server named an error in mid-stream in a separate field, ``error``, until it sent OpenAI's form (b10016 does).
    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    rest, size, total = [], 0, 0
    data: list[bytes] = []
    heard = time.monotonic()
    async for piece in pieces:
        total += len(piece)
        if total > most:
            raise PhiError(f"{base}: sends more than {most >> 20} MB, as no answer of this length does")
        head, newline, tail = piece.rpartition(b"\n")
        if not newline:
            rest.append(piece)
            size += len(piece)
        else:
            lines = b"".join([*rest, head]).split(b"\n")
            rest, size = [tail], len(tail)
            for line in lines:
                field, _, value = line.rstrip(b"\r").partition(b":")
                if field == b"data":
                    data.append(value.removeprefix(b" "))
                elif field == b"error":
                    data.append(b'{"error":' + value + b"}")
                elif not field and not value and data:
                    yield b"\n".join(data)
                    data, heard = [], time.monotonic()
        if size + sum(map(len, data)) > MOST_EVENT:
            raise PhiError(f"{base}: sends more than {MOST_EVENT >> 20} MB in one event, as no answer does")
        if time.monotonic() - heard > silence:  # comments alone, which keep a connection open
            raise PhiError(f"{base}: the server has written nothing for {silence:g} s")
    if data:
        yield b"\n".join(data)


def quoted(content: bytes) -> str:
    """What a server says beside its status, to end a sentence with: the message of its JSON, or a little of its text."""
    text = content[:10_000].decode("utf-8", "replace").strip()
    try:
        told: Any = decoded(content, Any)
        error = told.get("error") or told.get("detail") or told.get("message")
        text = str(error.get("message") or error) if isinstance(error, dict) else str(error or text)
    except (msgspec.DecodeError, AttributeError, RecursionError):
        if text.startswith("<"):
            text = "a page (HTML)"
    return f": {shown(text)}" if text else ""


def shown(text: str) -> str:
    """A little of what a server says, without the key, which some servers repeat."""
    key = os.environ.get(KEY, "").strip()
    return (text.replace(key, "(the key)") if key else text)[:_MOST_SAID]


class _Excess(msgspec.Struct):
    """What llama-server says of a prompt that is too long; vLLM says it in words alone."""

    message: str
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


class _Refusal(msgspec.Struct):
    error: _Excess


def too_long(content: bytes) -> PromptTooLong | None:
    """The error of a prompt that the model's context has no room for; None where a server refuses something else."""
    try:
        said = decoded(content, _Refusal).error
    except msgspec.DecodeError:
        return None
    tokens = said.n_prompt_tokens or _number(_TOKENS, said.message)
    context = said.n_ctx or _number(_CONTEXT, said.message)
    if not (tokens and context):
        return None
    if tokens < context:  # vLLM refuses a prompt that leaves less room than the longest answer may take
        answer = _number(_ANSWER, said.message)
        return PromptTooLong(
            f"the prompt has {tokens} tokens, the answer up to {answer}, the server's context {context}: shorten the "
            "prompt, or lower max_tokens",
            tokens,
            context - answer,
        )
    return PromptTooLong(f"the prompt has {tokens} tokens, the server's context {context}: shorten it", tokens, context)


def _number(pattern: str, text: str) -> int:
    """The number that a pattern finds in a text, 0 where there is none."""
    found = re.search(pattern, text)
    return int(found[1]) if found else 0
