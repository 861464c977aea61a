"""Many answers at once: their tokens decoded together, as many in one pass as pay off."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from os.path import commonprefix

from ..interrupt import Interrupted, Stop
from ..reply import Reply
from .answer import Ask, Clock, load, parse, prompt_tokens, writer_for
from .batch import WIDE, Batch
from .engine import Engine
from .model import Model
from .width import Width
from .writer import Writer


@dataclass
class _Job:
    """An answer to be made; the writer is there while it is in a lane."""

    index: int
    ask: Ask
    reply: Reply
    prompt: list[int]
    limit: int
    writer: Writer | None = None


def write_all(
    engine: Engine,
    asks: Sequence[Ask],
    replies: Sequence[Reply],
    stop: Stop,
    *,
    on_status: Callable[[str], None] = lambda _: None,
    clock: Clock = time.perf_counter,
) -> Generator[int, None, None]:
    """Fill in a reply for each ask, all of one model; yields a reply's number whenever its text grew or it is done.

    Every answer is made in wide passes, in which a sequence's bits do not depend on the others
    (:mod:`phi_magic.engine.batch`): it is the same alone, in another order, or among others. ``Reply.engine`` records
    that as ``pass``.

    Raises:
        PhiError: as :func:`phi_magic.engine.answer.write` does, before any answer is begun.
    """
    asked = clock()
    first = replies[0]
    identity = None
    try:
        with engine.turn(
            stop=stop,
            keep_alive=asks[0].keep_alive,
            on_wait=lambda: on_status("waiting for another answer to end"),
        ):
            identity = load(engine, asks[0], first, stop, on_status=on_status, clock=clock)
            model, _ = engine.loaded
            jobs = []
            for index, (ask, reply) in enumerate(zip(asks, replies, strict=True)):
                prompt, limit = prompt_tokens(
                    model, ask, reply, what=f"prompt {index}" if len(asks) > 1 else "the prompt"
                )
                reply.usage.prompt_tokens = len(prompt)
                reply.engine = {**first.engine, "pass": "wide"}
                jobs.append(_Job(index, ask, reply, prompt, limit))
            with closing(engine.batch(len(jobs), max(len(job.prompt) + job.limit for job in jobs))) as batch:
                if len(jobs) > 1:
                    batch.share(_shared([job.prompt for job in jobs]), stop=stop)
                yield from _decode(batch, model, engine.width, jobs, stop, asked, clock)
        if identity:
            identity.wait(stop)
    except Interrupted:
        pass  # a reply is interrupted until its writer says otherwise
    finally:
        for reply in replies:
            reply.model_sha256 = identity.sha256 if identity else first.model_sha256


def _shared(prompts: Sequence[list[int]]) -> list[int]:
    """What all prompts begin with: all of it where they are the same, else cut so that a whole slice is left of each."""
    prefix = list(commonprefix(prompts))  # noqa: RUF071 (it takes any sequences)
    if len(prefix) == max(map(len, prompts)):
        return prefix
    return prefix[: max(0, min(map(len, prompts)) - WIDE)]


def _decode(
    batch: Batch, model: Model, width: Width, jobs: Sequence[_Job], stop: Stop, asked: float, clock: Clock
) -> Generator[int, None, None]:
    """The loop: fill as many lanes as pay off, decode one token for each, draw, until nothing waits and all is written."""
    waiting = deque(jobs)
    lanes: dict[int, _Job] = {}

    def end(job: _Job) -> None:
        if job.writer:
            job.writer.close()
            parse(job.ask, job.reply)
        job.reply.timings.total = clock() - asked

    try:
        while waiting or lanes:
            while waiting and len(lanes) < min(batch.lanes, width.best):
                lane = next(lane for lane in range(batch.lanes) if lane not in lanes)
                lanes[lane] = job = waiting.popleft()
                started = clock()
                job.reply.usage.cached_tokens = batch.prefill(lane, job.prompt, stop=stop)
                job.reply.timings.prompt = clock() - started
                job.writer = writer_for(model, job.ask, job.reply, limit=job.limit, asked=asked, clock=clock)
                job.writer.step(batch.logits(-1))
                if job.writer.finished:
                    end(lanes.pop(lane))
                yield job.index
            if lanes:
                writers = {lane: job.writer for lane, job in lanes.items() if job.writer}
                started = clock()
                batch.decode({lane: writer.token for lane, writer in writers.items()}, stop=stop)
                width.took(len(writers), clock() - started)
                grown = [lane for lane, writer in writers.items() if writer.step(batch.logits(lane)) or writer.finished]
                for lane in grown:
                    job = lanes[lane]
                    if writers[lane].finished:
                        end(lanes.pop(lane))
                    yield job.index
            stop.check()
    finally:
        for job in lanes.values():
            end(job)
