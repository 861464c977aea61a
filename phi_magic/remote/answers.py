"""From what a server sends to a backend's events."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Annotated, TypeAlias

import msgspec

from ..errors import PhiError
from ..generation.backend import Event, Finished, Started, Step
from ..generation.request import GenerationRequest
from ..generation.thoughts import Thoughts
from ..reply import Alternative, FinishReason, Token, Usage
from . import client
from .said import decoded, quoted
from .servers import Server

Byte: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=255)]
_REASONS: dict[str, FinishReason] = {"length": "length", "max_tokens": "length"}
_EARLY = {"content_filter", "abort", "error", "cancelled"}  # a server's reasons to leave an answer unfinished
_BEYOND = 16  # pieces more than tokens were asked for, until a server does not stop


class _SentAlternative(msgspec.Struct):
    token: str
    logprob: float | None = None
    id: int | None = None
    bytes: list[Byte] | None = None


class _SentToken(_SentAlternative):
    top_logprobs: list[_SentAlternative] | None = None


class _Logprobs(msgspec.Struct):
    """The log-probabilities: in a chat under ``content``, in a completion as the lists of OpenAI's first endpoint."""

    content: list[_SentToken] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float | None] | None] | None = None

    def records(self) -> list[_SentToken]:
        if self.content is not None:
            return self.content
        tokens = self.tokens or []
        tops = [
            [_SentAlternative(token, logprob) for token, logprob in (top or {}).items()]
            for top in self.top_logprobs or []
        ]
        logprobs = self.token_logprobs or []
        return [
            _SentToken(
                token, logprobs[at] if at < len(logprobs) else None, top_logprobs=tops[at] if at < len(tops) else []
            )
            for at, token in enumerate(tokens)
        ]


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _SentUsage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _SentChunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _SentUsage | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


async def events(
    pieces: AsyncIterator[bytes],
    request: GenerationRequest,
    server: Server,
    model: str,
    *,
    base: str,
    index: int,
    begun: Sequence[Step] = (),
) -> AsyncIterator[Event]:
    """Yield the events of an answer.

    Args:
        pieces: the data of the server's events, each a chunk of the answer as JSON.
        request: what was asked.
        server: who answers.
        model: the model's name there.
        base: the server's address, for errors.
        index: which request.
        begun: the steps of the tokens that the answer begins with.

    Raises:
        PhiError: the server reports an error, closes the stream early, writes nothing, or sends something other than a chunk.
    """
    asked = wrote = time.perf_counter()
    usage, names = _SentUsage(), _Names()
    written = thought_of = 0  # pieces
    thoughts = None if request.raw or request.begin else Thoughts()
    reason: str | None = None
    started = False
    space = "" if request.raw or request.begin else " "  # SentencePiece writes one before the first word of all
    async for piece in pieces:
        chunk = _chunk(piece, base)
        now = time.perf_counter()
        if not started:
            started = True
            yield Started(index=index, prompt=now - asked, engine=server.record(model, request.sampling))
            for step in begun:
                yield msgspec.structs.replace(step, index=index)
        usage = chunk.usage or usage
        for choice in chunk.choices or ():
            delta = choice.delta or _Delta(choice.text)
            text, thought = (delta.content or "").removeprefix(space), delta.reasoning_content or delta.reasoning or ""
            space = "" if delta.content else space
            if text or thought:
                written, wrote = written + 1, now
            if thoughts:
                inline, text = thoughts.split(text)
                thought += inline
            thought_of += bool(thought)
            tokens = names.tokens(choice.logprobs, greedy=request.sampling.greedy) if request.top_logprobs else []
            steps = [Step(index=index, token=token, at=now) for token in tokens] or (
                [Step(index=index, at=now)] if text or thought else []
            )
            if steps:
                steps[-1] = msgspec.structs.replace(steps[-1], text=text, reasoning=thought)
            for step in steps:
                yield step
            reason = choice.finish_reason or reason
        if written > request.max_tokens + _BEYOND:
            reason = "length"
            break
        if now - wrote > client.SILENCE:
            raise PhiError(f"{base}: the server has written nothing for {client.SILENCE:g} s")
    if reason is None:
        raise PhiError(f"{base}: the server broke off before the answer's end{server.dialect.broke_off}")
    if reason in _EARLY:
        raise PhiError(f"{base}: the server ended the answer before its end: {reason}")
    told = usage.prompt_tokens_details or _Details(), usage.completion_tokens_details or _Details()
    inline, text = thoughts.split("", last=True) if thoughts else ("", "")
    yield Finished(
        index=index,
        reason=_REASONS.get(reason, "stop"),
        text=text,
        reasoning=inline,
        at=time.perf_counter(),
        error=""
        if names.told or not (written and request.top_logprobs)
        else f"{server.dialect.name} gave no log-probabilities",
        usage=None
        if usage.completion_tokens is None
        else Usage(
            usage.prompt_tokens or 0,
            told[0].cached_tokens or 0,
            usage.completion_tokens,
            told[1].reasoning_tokens or thought_of,
        ),
    )


def _chunk(piece: bytes, base: str) -> _SentChunk:
    try:
        chunk = decoded(piece, _SentChunk)
    except msgspec.DecodeError as error:  # no JSON, or JSON of another form
        raise PhiError(f"{base}: sends what is no piece of an answer ({error}){quoted(piece)}") from None
    if bytes(chunk.error) != b"null":
        raise PhiError(f"{base}: the server broke off{quoted(piece)}")
    if chunk.choices is None and chunk.usage is None:
        raise PhiError(f"{base}: sends what is no piece of an answer{quoted(piece)}")
    return chunk


class _Names:
    """Makes records of tokens, and gives numbers to tokens that a server names by their text alone: -1, -2, …"""

    def __init__(self) -> None:
        self.told = False  #: whether there was a token
        self._numbers: dict[str, int] = {}

    def tokens(self, logprobs: _Logprobs | None, *, greedy: bool) -> Iterator[Token]:
        for record in logprobs.records() if logprobs else ():
            self.told = True
            top = tuple(
                Alternative(self._id(other), _text(other), _logprob(other), _drawn(other, record, greedy=greedy))
                for other in record.top_logprobs or ()
            )
            better = sum(other.logprob > _logprob(record) for other in top)
            yield Token(
                self._id(record),
                _text(record),
                _logprob(record),
                _drawn(record, record, greedy=greedy),
                rank=1 + better,
                top=top,
            )

    def _id(self, token: _SentAlternative) -> int:
        if token.id is not None:
            return token.id
        return self._numbers.setdefault(token.token, -1 - len(self._numbers))


def _text(token: _SentAlternative) -> str:
    """The token's text, with bytes that are no whole character as ``\\xNN``; a control token's bytes are none."""
    if token.bytes:
        return bytes(token.bytes).decode("utf-8", "backslashreplace")
    return token.token


def _logprob(token: _SentAlternative) -> float:
    return -math.inf if token.logprob is None else token.logprob


def _drawn(token: _SentAlternative, chosen: _SentAlternative, *, greedy: bool) -> float:
    """The probability with which a token was drawn: certain where it is the likeliest that is taken, else not told."""
    return float(token.token == chosen.token) if greedy else math.nan
