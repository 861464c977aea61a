"""phi_magic as its users call it, and what its engine could do at best beside it."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.work import QUESTION, WIDTHS, Lengths, Work, memory, words
from phi_magic import Phi
from phi_magic.engine.batch import WIDE, Batch
from phi_magic.engine.context import Context
from phi_magic.engine.engine import Engine
from phi_magic.engine.plan import choose
from phi_magic.generation.request import ModelReference
from phi_magic.generation.worker import shared
from phi_magic.gguf.checks import read_header
from phi_magic.interrupt import Stop
from phi_magic.reply import Message

_ANSWER = 32  # tokens of the first turn's answer
_PASSES = 9  # of each width


def main() -> None:
    work = Work.read()
    started = time.perf_counter()
    phi = Phi(model=work.model, seed=1, n_threads=work.threads, keep_alive=-1)
    options: dict[str, Any] = {}
    if work.plan:
        options["plan"] = replace(choose(read_header(Path(work.model)), n_threads=work.threads), **work.plan)
    ask = partial(_ask, phi, options)
    stream = phi.stream(QUESTION, max_tokens=1, **options)
    next(stream, None)
    figures: dict[str, Any] = {"first_token": time.perf_counter() - started}
    for _ in stream:
        pass
    lengths = Lengths(work, time.perf_counter)
    lengths.measure(lambda length, max_tokens: ask(words(length), max_tokens))
    figures |= {
        "prefill": lengths.prefill,
        "decode": lengths.decode,
        **memory(*filter(None, [shared.pid])),
        "plan": stream.reply.engine,
    }
    if "second turn" in work.extras:
        shared.close()  # what follows needs the memory
        figures["second turn"] = _second_turn(phi)
    if "map" in work.extras:
        figures["map"] = _map(phi, work)
    print(json.dumps(figures))


def _ask(phi: Phi, options: dict[str, Any], text: str, max_tokens: int) -> tuple[int, float, int, float]:
    """A prompt's tokens and the seconds until the first piece; the tokens after it, and the seconds for those."""
    stream = phi.stream(text, max_tokens=max_tokens, **options)
    asked = time.perf_counter()
    first = last = 0.0
    before = after = 0
    for _ in stream:
        last, after = time.perf_counter(), len(stream.reply.tokens)
        if not first:
            first, before = last, after
    first = first or time.perf_counter()  # the only token was no text
    usage = stream.reply.usage
    return usage.prompt_tokens - usage.cached_tokens, first - asked, after - before, last - first


def _second_turn(phi: Phi) -> dict[str, float]:
    """Seconds to the first token of a second turn, asked once the answer is read, and for what is new in it alone.

    The engine runs in this process, where its context can be looked into.
    """
    engine = Engine()
    phi.backend = engine
    messages: list[Message] = [{"role": "user", "content": words(256)}]
    answer = phi.stream(messages, max_tokens=_ANSWER, continues=True)
    for _ in answer:
        pass
    engine.idle(Stop())  # as the worker does while the user reads
    messages += [{"role": "assistant", "content": answer.reply.text}, {"role": "user", "content": words(64)}]
    reply = phi(messages, max_tokens=1)

    model, context = engine.loaded
    prompt = context.tokens[: reply.usage.prompt_tokens]
    new = prompt[::-1].index(model.controls["<|user|>"]) + 1
    fresh = Context(model, context.plan)
    fresh.prefill(prompt[:-new], room=len(prompt), stop=Stop())
    started = time.perf_counter()
    fresh._pass(prompt[-new:], Stop())  # noqa: SLF001 (just these, whatever else exactness asks for)
    seconds = time.perf_counter() - started
    fresh.close()
    engine.unload()
    phi.backend = None
    return {
        "first_token": reply.timings.first_token,
        "new": seconds,
        "new_tokens": new,
        "evaluated_tokens": reply.usage.prompt_tokens - reply.usage.cached_tokens,
    }


def _map(phi: Phi, work: Work) -> dict[str, Any]:
    """Tokens per second of ``map`` while all answers are written, and of bare passes at several widths."""
    stream = phi.stream_all([(f"{index} {QUESTION}", {"max_tokens": work.tokens + 1}) for index in range(work.answers)])
    started, before = 0.0, 0
    for _ in stream:
        counts = [len(reply.tokens) for reply in stream.replies]
        if not started and min(counts):
            started, before = time.perf_counter(), sum(counts)
    seconds = time.perf_counter() - started
    tokens = sum(len(reply.tokens) for reply in stream.replies) - before
    room = max(reply.usage.prompt_tokens for reply in stream.replies) + work.tokens + 1
    shared.close()
    engine = Engine()
    engine.load(ModelReference(work.model, n_threads=work.threads), Stop())
    widths = [width for width in WIDTHS if width <= 2 * work.answers]
    passes = {width: _passes(engine, width, room) for width in widths}
    engine.unload()
    return {"map": tokens / seconds, "passes": passes}


def _passes(engine: Engine, width: int, room: int) -> float:
    """Tokens per second of passes over one token of each of ``width`` sequences, with nothing drawn or written."""
    model, context = engine.loaded
    batch = Batch(model, context.plan, sequences=width, room=room)
    list(batch.prefill(dict.fromkeys(range(width), [1] * WIDE), stop=Stop()))
    taken = []
    for _ in range(_PASSES):
        started = time.perf_counter()
        batch.decode(dict.fromkeys(range(width), 1), stop=Stop())
        batch.logits(0)
        taken.append(time.perf_counter() - started)
    batch.close()
    return width / median(taken)


if __name__ == "__main__":
    main()
