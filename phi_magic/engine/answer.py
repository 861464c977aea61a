"""One answer: the prompt is prefilled, then one token after another is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime

from ..errors import PhiError, PromptTooLong
from ..generation.backend import Event, OnStatus, Started, Step, ignore_status
from ..generation.request import ChatMessage, GenerationRequest
from ..generation.thoughts import place_of_thoughts
from ..interrupt import Interrupted, Stop
from ..position import Position
from ..prompt.history import fit
from ..prompt.rendering import Rendered, render
from .context import Context
from .model import Model
from .runtime import Runtime
from .speculative import DraftLength, Lookup, advance, widths
from .thinking import Thinking, thinking_of
from .writer import Writer

_WORDY = 200  # characters for each token of the context


@dataclass(frozen=True, slots=True)
class TokenizedPrompt:
    """A prompt as the model reads it."""

    tokens: Sequence[int] = ()
    date: str = ""  #: the date and time that the chat template wrote into it; empty where it asked for none
    left_out: int = 0  #: how many of the oldest turns had no room in it

    def __len__(self) -> int:
        return len(self.tokens)


def write(
    runtime: Runtime, request: GenerationRequest, stop: Stop, *, on_status: OnStatus = ignore_status
) -> Iterator[Event]:
    """Answer one request; see :meth:`phi_magic.generation.backend.Backend.generate`.

    Raises:
        PhiError: the model cannot be had, or the prompt is longer than the context.
        Interrupted: ``stop`` was set before the first token.
    """
    clock, began = runtime.clock, runtime.clock()
    runtime.load(request.model, stop, on_status=on_status)
    loaded = clock()
    model, context = runtime.loaded
    prompt, limit = read_prompt(runtime, model, request)
    room = len(prompt) + limit
    runtime.check_room(room)
    known = request.known[:limit]
    cached = context.follow(
        prompt.tokens,
        [token.id for token in known],
        room=room,
        stop=stop,
        exact=request.exact,
        on_progress=_reading(on_status),
    )
    yield started(runtime, prompt, room, cached=cached, load=loaded - began, seconds=clock() - loaded)
    text: list[str] = []
    with closing(
        Writer(model, request, limit=limit, thinking=thinking(runtime, model, request), clock=clock)
    ) as writer:
        try:
            for token in known:
                step = writer.repeat(token)
                text.append(step.text)
                yield step
            if not writer.finish_reason and (drawn := writer.step(context.logits)):
                text.append(drawn.text)
                yield drawn
            for drawn in _decode(runtime, context, writer, request, prompt.tokens, limit, stop):
                text.append(drawn.text)
                yield drawn
        except Interrupted:
            pass  # "interrupted" is the reason of an unfinished answer
        end = writer.finish()
    if request.continues and request.exact and end.reason != "interrupted":
        # Without the promise of exactness the decoded tokens serve as history.
        answer = "".join([*text, end.text])
        runtime.read_ahead_later(lambda: _history(runtime, model, request, answer))
    yield end


def _decode(
    runtime: Runtime,
    context: Context,
    writer: Writer,
    request: GenerationRequest,
    prompt: Sequence[int],
    limit: int,
    stop: Stop,
) -> Iterator[Step]:
    """The decode loop: one token after another, or several at once where speculative decoding may be used."""
    speculative = widths(context.plan, exact=request.exact)
    if not speculative:
        while not writer.finish_reason:
            stop.check()
            context.append(writer.token, stop=stop)
            if drawn := writer.step(context.logits):
                yield drawn
        return
    lookup = Lookup([*prompt, *(token.id for token in request.known[:limit])])
    length = DraftLength(speculative, runtime.pass_seconds)
    while not writer.finish_reason:
        stop.check()
        room = len(prompt) + limit - len(context.tokens)
        yield from advance(context, writer, lookup, length, room=room, stop=stop)


def look(
    runtime: Runtime,
    request: GenerationRequest,
    stop: Stop,
    *,
    before: Position | None = None,
    on_status: OnStatus = ignore_status,
) -> Position:
    """Return the logits after the prompt and ``request.begin``; tokens that the KV cache holds are not evaluated again.

    Raises:
        PhiError: the model cannot be had, or prompt and answer fill the context.
        Interrupted: ``stop`` was set.
    """
    runtime.load(request.model, stop, on_status=on_status)
    model, context = runtime.loaded
    prompt, limit = read_prompt(runtime, model, request)
    if len(request.begin) >= limit:
        raise PhiError(f"the answer has {len(request.begin)} tokens and may have {limit}: raise max_tokens or n_ctx")
    runtime.check_room(len(prompt) + limit)
    context.follow(prompt.tokens, request.begin, room=len(prompt) + limit, stop=stop)
    return Position(
        request.begin,
        context.logits.copy(),
        before.names if before else [model.name(token) for token in range(model.n_vocab)],
        before.ends if before else frozenset(token for token in range(model.n_vocab) if model.ends(token)),
    )


def read_prompt(runtime: Runtime, model: Model, request: GenerationRequest) -> tuple[TokenizedPrompt, int]:
    """Return the prompt, and how many tokens the answer may have.

    Raises:
        PhiError: the prompt leaves no room in the context, or ``begin`` holds no token ids of the vocabulary.
    """
    if not all(0 <= token < model.n_vocab for token in request.begin):
        raise PhiError(f"begin holds token ids outside of the vocabulary of {model.n_vocab}")
    ceiling = min(request.n_ctx, model.n_ctx_train)
    if (size := sum(len(message.content) for message in request.messages[-1:])) > _WORDY * ceiling:
        # No vocabulary has tokens of so many characters on average. Tokenizing such a text would only reach its time
        # limit.
        raise PromptTooLong(
            f"the prompt has {size:,} characters, the context {ceiling} tokens: shorten it", size, ceiling
        )
    if request.raw:
        prompt = _read(runtime, model, request, request.messages)
    else:
        prompt = _fitted(runtime, model, request, request.messages)
    if not prompt.tokens:
        raise PhiError("this model has no token that begins a text: write a prompt")
    if len(prompt) >= ceiling:
        advice = "shorten the prompt" + (", or raise n_ctx" if ceiling < model.n_ctx_train else "")
        tokens = len(prompt)
        raise PromptTooLong(f"the prompt has {tokens} tokens, the context {ceiling}: {advice}", tokens, ceiling)
    thinks = thinking(runtime, model, request) if model.thinks else None
    most = request.max_tokens + (request.max_reasoning + len(thinks.closing) if thinks else 0)
    return prompt, min(most, ceiling - len(prompt))


def thinking(runtime: Runtime, model: Model, request: GenerationRequest) -> Thinking | None:
    """Return how the answer may begin with thoughts; None where they cannot be separated from it."""
    if request.raw or request.given is not None or model.chat_template is None:
        return None
    if request.choices and not model.thinks:  # they are compared right after the prompt
        return None
    system = [message for message in request.messages[:1] if message.role == "system"]
    prompt = _rendered(runtime, model, request, [*system, request.messages[-1]]).text
    place = place_of_thoughts(prompt, model.tags)
    return None if place == "left out" else thinking_of(model, begun=place == "begun")


def started(
    runtime: Runtime,
    prompt: TokenizedPrompt,
    room: int,
    index: int = 0,
    *,
    cached: int,
    load: float,
    seconds: float,
    passes: str = "",
) -> Started:
    """Return the event that begins an answer. Its ``engine`` is the plan, the set of RoPE factors if the model has two,
    the date in the prompt, and the kind of pass.

    Args:
        room: tokens of the prompt and of the longest answer.
        index: the number of the request among several.
        cached: tokens of the prompt that the KV cache held.
        load: seconds that loading the model took.
        seconds: seconds that the prompt took.
        passes: the kind of pass; empty for an answer that is decoded singly.
    """
    model, context = runtime.loaded
    told = {"rope": model.rope_factors(room), "now": prompt.date, "pass": passes}
    return Started(
        index,
        prompt_tokens=len(prompt),
        cached_tokens=cached,
        load=load,
        prompt=seconds,
        engine=context.plan.to_dict() | {name: value for name, value in told.items() if value},
        left_out=prompt.left_out,
        path=str(model.path),
    )


def _fitted(
    runtime: Runtime, model: Model, request: GenerationRequest, messages: Sequence[ChatMessage]
) -> TokenizedPrompt:
    """Return a conversation cut to fit the context."""
    with runtime.bound("fitting the conversation to the context"):
        prompt, left_out = fit(
            messages,
            lambda some: _read(runtime, model, request, some),
            model.size,
            answer=request.max_tokens + (request.max_reasoning if model.thinks else 0),
            ceiling=min(request.n_ctx, model.n_ctx_train),
        )
    return replace(prompt, left_out=left_out)


def rendered(runtime: Runtime, model: Model, request: GenerationRequest) -> Rendered:
    """Render all of a request's messages to the text that the model reads."""
    return _rendered(runtime, model, request, request.messages)


def _rendered(runtime: Runtime, model: Model, request: GenerationRequest, messages: Sequence[ChatMessage]) -> Rendered:
    """Render some messages as the request wants them."""
    if request.raw:
        return Rendered("".join(message.content for message in messages))
    with runtime.bound("the model's chat template"):
        return render(
            [message.to_dict() for message in messages],
            template=model.chat_template,
            controls=model.controls,
            bos="" if model.bos is None else model.control_text(model.bos),
            eos="" if model.eos is None else model.control_text(model.eos),
            now=datetime.fromisoformat(request.now) if request.now else None,
        )


def _read(
    runtime: Runtime, model: Model, request: GenerationRequest, messages: Sequence[ChatMessage]
) -> TokenizedPrompt:
    prompt = _rendered(runtime, model, request, messages)
    with runtime.bound("cutting the prompt into tokens"):
        return TokenizedPrompt(model.tokenize(prompt.text, shield=prompt.shield), prompt.date)


def _history(runtime: Runtime, model: Model, request: GenerationRequest, text: str) -> Sequence[int]:
    """Return the tokens that the next prompt of the conversation will begin with, rendered with a letter as the next
    question.
    """
    following = (ChatMessage("assistant", text), ChatMessage("user", "?"))
    return _fitted(runtime, model, request, [*request.messages, *following]).tokens


def _reading(on_status: OnStatus) -> Callable[[int, int], None]:
    """Return a callback that reports how far a prompt of several slices is evaluated."""

    def progress(done: int, total: int) -> None:
        if done:
            on_status(f"reading the prompt: {done} of {total} tokens")

    return progress
