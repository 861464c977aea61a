"""One answer, from the question to the last piece: the path that the magic, the panel and the terminal share."""

from __future__ import annotations

import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

from ..errors import PhiError, PromptTooLong
from ..gguf.checks import Header
from ..interrupt import Interrupted, Stop
from ..models.files import ModelFile
from ..models.fingerprint import Identity
from ..prompt.rendering import Rendered, render
from ..reply import Message, Reply, Token
from ..sampling import Sampling
from ..schema.extract import data
from ..schema.structure import Structure
from .engine import Engine
from .grammar import Grammar
from .model import Model
from .plan import Plan
from .speculative import Lookup, Pace, advance, widths
from .writer import Writer

Clock = Callable[[], float]


@dataclass
class Ask:
    """What is asked of the engine; the texts are ready, the numbers within their bounds."""

    find: Callable[[Callable[[], None]], ModelFile]  #: may download it, calling meanwhile what it is given
    plan: Callable[[Header], Plan]  #: how to run it on this machine
    messages: list[Message]
    knobs: Sampling
    max_tokens: int
    stop_strings: list[str]
    n_ctx: int
    raw: bool = False
    json: bool = False  #: the answer is to be parsed into ``Reply.data``
    structure: Structure | None = None  #: what the answer is held to
    begin: tuple[int, ...] = ()  #: token ids that the answer is made to begin with
    known: tuple[Token, ...] = ()  #: the records of the first of them
    top_logprobs: int = 0
    exact: bool = True  #: whether the answer's bits must be those of a fresh context
    continues: bool = False  #: whether another question is likely to follow in this conversation
    keep_alive: float = -1
    identify: bool = True  #: whether the answer ends only when the model file's hash is known


def write(
    engine: Engine,
    ask: Ask,
    reply: Reply,
    stop: Stop,
    *,
    on_status: Callable[[str], None] = lambda _: None,
    clock: Clock = time.perf_counter,
) -> Generator[str, None, None]:
    """Yield the pieces of the answer's text and fill in ``reply``.

    Args:
        on_status: told in a few words what is going on until the first token is there.

    Raises:
        PhiError: the model cannot be had, or the prompt is longer than the context.
    """
    asked = clock()
    identity: Identity | None = None
    try:
        with engine.turn(stop=stop, keep_alive=ask.keep_alive, on_wait=_waiting(on_status)):
            identity = load(engine, ask, reply, stop, on_status=on_status, clock=clock)
            model, context = engine.loaded
            prompt, limit = prompt_tokens(model, ask, reply)
            engine.check_room(len(prompt) + limit)
            started = clock()
            reply.usage.prompt_tokens = len(prompt)
            known = ask.known[:limit]
            reply.usage.cached_tokens = context.follow(
                prompt,
                [token.id for token in known],
                room=len(prompt) + limit,
                stop=stop,
                exact=ask.exact,
                on_progress=_reading(on_status),
            )
            reply.timings.prompt = clock() - started
            writer = writer_for(model, ask, reply, limit=limit, asked=asked, clock=clock)
            with closing(writer):
                for token in known:
                    if piece := writer.repeat(token):
                        yield piece
                if not writer.finished and (piece := writer.step(context.logits)):
                    yield piece
                lookup = Lookup([*prompt, *(token.id for token in known)])
                pace = Pace(widths(context.plan, exact=ask.exact), engine.pass_seconds)
                while not writer.finished:
                    stop.check()
                    room = len(prompt) + limit - len(context.tokens)
                    yield from advance(context, writer, lookup, pace, room=room, stop=stop)
            # The model is ours only until the turn ends. Without exactness the answer's own tokens will do.
            history = _history(model, ask, reply) if ask.continues and ask.exact else []
        parse(ask, reply)
        if history:
            engine.read_ahead(context, history)
        if identity:
            written = clock()
            identity.wait(stop)
            asked += clock() - written  # no part of the answer's time
    except Interrupted:
        reply.finish_reason = "interrupted"
    finally:
        if identity:
            reply.model_sha256 = identity.sha256
        reply.timings.total = clock() - asked


def parse(ask: Ask, reply: Reply) -> None:
    """Fill in ``data``, where JSON was asked for; None where the answer is not, which is said beside it."""
    if ask.structure or ask.json:
        with suppress(PhiError):
            reply.data = ask.structure.parse(reply.text) if ask.structure else data(reply.text)


def load(
    engine: Engine,
    ask: Ask,
    reply: Reply,
    stop: Stop,
    *,
    on_status: Callable[[str], None] = lambda _: None,
    clock: Clock = time.perf_counter,
) -> Identity | None:
    """Find the model's file and have the engine load it; records in the reply what was loaded, and how long it took.

    Raises:
        PhiError: the model cannot be had, or does not fit the memory.
        Interrupted: ``stop`` was set.
    """
    with stop.letting_interrupts():
        file = ask.find(stop.check)
    reply.model_sha256 = file.sha256
    started = clock()
    header = engine.inspect(file.path)
    identity = Identity(file) if ask.identify else None
    plan = ask.plan(header)
    reply.engine = plan.to_dict()
    engine.load(header, plan, stop=stop, on_progress=_loading(on_status, reply.model, started, clock))
    reply.timings.load = clock() - started
    return identity


def prompt_tokens(model: Model, ask: Ask, reply: Reply, *, what: str = "the prompt") -> tuple[list[int], int]:
    """What the model reads, and how many tokens the answer may have.

    Of a conversation that is too long for the context the oldest turns are left out, and ``reply`` says how many.

    Raises:
        PhiError: the prompt leaves no room in the context.
    """
    if not all(0 <= token < model.n_vocab for token in ask.begin):
        raise PhiError(f"begin holds token ids outside of the vocabulary of {model.n_vocab}")
    ceiling = min(ask.n_ctx, model.n_ctx_train)
    prompt, reply.left_out = _fitted(model, ask, ceiling)
    if len(prompt) >= ceiling:
        advice = "shorten the prompt" + (", or raise n_ctx" if ceiling < model.n_ctx_train else "")
        raise PromptTooLong(what, len(prompt), ceiling, advice)
    return prompt, min(ask.max_tokens, ceiling - len(prompt))


def _fitted(model: Model, ask: Ask, ceiling: int) -> tuple[list[int], int]:
    """The prompt's tokens, and how many of the oldest turns were left out to make them fit.

    The answer must fit too; a quarter of the context is room enough for it. The system message and the question always
    stay.
    """
    messages = ask.messages
    system = messages[:1] if messages[0]["role"] == "system" else []
    turns = [at for at, message in enumerate(messages) if message["role"] == "user"]
    room = min(ask.max_tokens, ceiling // 4)

    def without(count: int) -> list[int]:
        return _tokens(model, [*system, *messages[turns[count] :]] if count else messages, raw=ask.raw, most=ceiling)

    tokens = without(0)
    if len(tokens) + room <= ceiling or ask.raw or len(turns) < 2:
        return tokens, 0
    counts = range(1, len(turns) - 1)  # if none of these will do, all turns but the question are left out
    count = 1 + bisect_left(counts, True, key=lambda count: len(without(count)) + room <= ceiling)
    return without(count), count


def _tokens(model: Model, messages: Sequence[Message], *, raw: bool, most: int = sys.maxsize) -> list[int]:
    """The prompt's tokens; of a text that is certain to have more than ``most``, only about as many as it must have.

    llama.cpp's tokenizer takes hours for some texts of a few megabytes, and cannot be stopped.
    """
    if raw:
        rendered = Rendered("".join(message["content"] for message in messages))
    else:
        rendered = render(
            messages,
            template=model.chat_template,
            controls=model.controls,
            bos="" if model.bos is None else model.control_text(model.bos),
            eos="" if model.eos is None else model.control_text(model.eos),
        )
    size = len(rendered.text.encode("utf-8", "replace"))
    if size > 8 * most and (least := size // model.longest_piece) > most:
        return [0] * least
    return model.tokenize(rendered.text, shield=rendered.shield)


def writer_for(
    model: Model, ask: Ask, reply: Reply, *, limit: int, asked: float, clock: Clock = time.perf_counter
) -> Writer:
    return Writer(
        model,
        reply,
        ask.knobs,
        limit=limit,
        asked=asked,
        clock=clock,
        stop_strings=ask.stop_strings,
        skip_space=not ask.raw,
        begin=ask.begin,
        top_logprobs=ask.top_logprobs,
        grammar=Grammar(model, ask.structure.text) if ask.structure else None,
    )


def _history(model: Model, ask: Ask, reply: Reply) -> list[int]:
    """What the next question of the conversation will begin with; it itself is not known, so a letter stands for it."""
    turns: list[Message] = [{"role": "assistant", "content": reply.text}, {"role": "user", "content": "?"}]
    return _tokens(model, [*ask.messages, *turns], raw=False)


def _waiting(on_status: Callable[[str], None]) -> Callable[[], None]:
    return lambda: on_status("waiting for another answer to end")


def _loading(on_status: Callable[[str], None], name: str, started: float, clock: Clock) -> Callable[[float], None]:
    """Says how far loading is, once it has taken half a second, ten times a second at most."""
    said = started + 0.4

    def progress(fraction: float) -> None:
        nonlocal said
        if (now := clock()) >= said + 0.1:
            said = now
            on_status(f"loading {name}: {fraction:.0%}")

    return progress


def _reading(on_status: Callable[[str], None]) -> Callable[[int, int], None]:
    """Says how far a prompt of several slices is read."""

    def progress(done: int, total: int) -> None:
        if done:
            on_status(f"reading the prompt: {done} of {total} tokens")

    return progress
