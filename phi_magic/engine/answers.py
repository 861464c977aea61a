"""Many answers at once: their tokens are decoded together, as many in one pass as pay off."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..errors import PhiError, RowsRefused
from ..generation.backend import Event, Finished, OnStatus, Started, ignore_status
from ..generation.request import GenerationRequest, ModelReference
from ..interrupt import Interrupted, Stop
from .answer import TokenizedPrompt, started, thinking, write
from .batch import Batch
from .choices import Ballot, decide, read_choices, sequences
from .deliberation import Deliberation
from .given import evaluate
from .grouping import worth_waiting_for
from .jobs import Job, Reading, alike, read_job
from .runtime import Runtime
from .writer import Writer


def write_all(
    runtime: Runtime,
    requests: Sequence[GenerationRequest],
    stop: Stop,
    *,
    keep_errors: bool = False,
    on_status: OnStatus = ignore_status,
) -> Iterator[Event]:
    """Answer many requests; see :meth:`phi_magic.generation.backend.Backend.generate_many`.

    Every answer is made in wide passes, in which a sequence's logits do not depend on the others
    (:mod:`phi_magic.engine.batch`): it is the same alone, in another order, or among others. ``Started.engine`` records
    that as ``pass``. On a GPU they do depend on the others: there each answer is made singly, unless the request says
    ``exact=False``. Requests for different models or plans are answered one group after the other.

    Raises:
        PhiError: requests cannot be answered, before any answer is begun. With ``keep_errors`` only for what concerns
            all, such as a model that cannot be had.
        Interrupted: ``stop`` was set before any answer was begun.
    """
    groups: dict[ModelReference, list[Job]] = {}
    refused: dict[int, PhiError] = {}
    for index, request in enumerate(requests):
        groups.setdefault(request.model, []).append(Job(index, request, TokenizedPrompt(), 0))
    reading = Reading(len(requests), on_status, runtime.clock)
    for model, jobs in groups.items():
        if len(groups) == 1:  # of several models, each is loaded once: when its requests are answered
            _load(runtime, model, jobs, stop, on_status)
        with runtime.vocabulary(model, stop) as vocabulary:
            for job in jobs:
                try:
                    read_job(runtime, vocabulary, job)
                except PhiError as error:
                    refused[job.index] = error
                reading.took_one()
                stop.check()
    if refused and not keep_errors:
        raise RowsRefused({index: str(reason) for index, reason in refused.items()}, len(requests))
    for index, reason in refused.items():
        yield Finished(index, "error", at=runtime.clock(), error=str(reason))
    for model, every in groups.items():
        jobs = [job for job in every if job.index not in refused]
        _load(runtime, model, every, stop, on_status)
        if not runtime.loaded[1].plan.slices_alike:
            for job in jobs:
                if job.request.exact:
                    yield from _alone(runtime, job, stop, keep_errors=keep_errors)
            jobs = [job for job in jobs if not job.request.exact]
        for part in alike(runtime, jobs):
            written = [job for job in part if job.request.given is None and (not job.options or _thinks(runtime, job))]
            if written:
                room, limit = max(job.room for job in written), max(job.limit for job in written)
                with closing(runtime.batch(len(written), room, passes=limit - 1)) as batch:
                    yield from _decode(runtime, batch, written, stop, keep_errors=keep_errors)
            choosing = [job for job in part if job.options and job.prompt and job.writer is None]
            if choosing:
                ballots = [_ballot(job) for job in choosing]
                with closing(runtime.batch(sequences(ballots), _room(runtime, choosing, ballots))) as batch:
                    if len(ballots) > 1:
                        batch.share([ballot.prompt.tokens for ballot in ballots], stop=stop)
                    started = {job.index for job in written}
                    for event in decide(runtime, batch, ballots, stop):
                        if not (isinstance(event, Started) and event.index in started):
                            yield event
            for job in part:
                if job.request.given is not None:
                    yield from evaluate(runtime, job.request, stop, index=job.index)


def _thinks(runtime: Runtime, job: Job) -> bool:
    model, _ = runtime.loaded
    return thinking(runtime, model, job.request) is not None


def _load(runtime: Runtime, model: ModelReference, jobs: Sequence[Job], stop: Stop, on_status: OnStatus) -> None:
    """Load a model, unless it is; the time counts for the first of its jobs."""
    began = runtime.clock()
    runtime.load(model, stop, on_status=on_status)
    jobs[0].load += runtime.clock() - began


def _ballot(job: Job) -> Ballot:
    prompt = replace(job.prompt, tokens=[*job.prompt.tokens, *job.thoughts]) if job.thoughts else job.prompt
    return Ballot(job.index, job.request, prompt, job.options, job.load)


def _room(runtime: Runtime, jobs: Sequence[Job], ballots: Sequence[Ballot]) -> int:
    """Tokens of context for each choice: as few as will do with the RoPE factors that the thoughts had."""
    model, _ = runtime.loaded
    room = max(ballot.room for ballot in ballots)
    return room if model.rope_factors(room) == model.rope_factors(jobs[0].room) else max(job.room for job in jobs)


def _alone(runtime: Runtime, job: Job, stop: Stop, *, keep_errors: bool) -> Iterator[Event]:
    """Answer a request by itself, where its logits would depend on the others in a pass."""
    stop.check()
    try:
        if job.options:
            ballot = _ballot(job)
            with closing(runtime.batch(sequences([ballot]), ballot.room)) as batch:
                yield from decide(runtime, batch, [ballot], stop)
        elif job.request.given is not None:
            yield from evaluate(runtime, job.request, stop, index=job.index)
        else:
            for event in write(runtime, job.request, stop):
                yield msgspec.structs.replace(event, index=job.index)
    except PhiError as error:
        if not keep_errors:
            raise
        yield Finished(job.index, "error", at=runtime.clock(), error=str(error))


def _decode(runtime: Runtime, batch: Batch, jobs: Sequence[Job], stop: Stop, *, keep_errors: bool) -> Iterator[Event]:
    """Fill as many sequences as pay off, decode one token for each and draw, until every answer is complete."""
    waiting = deque(jobs)
    running: dict[int, Job] = {}  # by the sequence of the batch; the first ones, without a gap
    try:
        if len(jobs) > 1:
            batch.share([job.prompt.tokens for job in jobs], stop=stop)
        while waiting or running:
            free = min(batch.sequences, runtime.width.best) - len(running)
            if waiting and (not running or free >= min(len(waiting), worth_waiting_for(len(waiting[0].prompt)))):
                fresh = [waiting.popleft() for _ in range(min(free, len(waiting)))]
                yield from _begin(runtime, batch, running, fresh, stop, keep_errors=keep_errors)
            elif running:
                tokens = {sequence: job.writer.token for sequence, job in running.items() if job.writer}
                started = runtime.clock()
                batch.decode(tokens, stop=stop)
                runtime.width.took(len(tokens), runtime.clock() - started)
                for sequence in tokens:
                    yield from _step(runtime, running[sequence], batch.logits(sequence), keep_errors=keep_errors)
            _close_gaps(batch, running)
            stop.check()
    except Interrupted:
        for job in running.values():
            if job.writer:
                yield job.writer.finish()
    finally:
        for job in running.values():
            if job.writer:
                job.writer.close()


def _begin(
    runtime: Runtime,
    batch: Batch,
    running: dict[int, Job],
    fresh: Sequence[Job],
    stop: Stop,
    *,
    keep_errors: bool,
) -> Iterator[Event]:
    """Read the prompts of some jobs, and draw the first token of each; the jobs become ``running``."""
    # Prompts of similar length are neighbours, so that they can share a pass.
    jobs = dict(enumerate(sorted(fresh, key=lambda job: -len(job.prompt)), len(running)))
    began = runtime.clock()
    for cached in batch.prefill({sequence: job.prompt.tokens for sequence, job in jobs.items()}, stop=stop):
        seconds = runtime.clock() - began
        for sequence, tokens in cached.items():
            running[sequence] = job = jobs[sequence]
            yield started(
                runtime, job.prompt, job.room, job.index, cached=tokens, load=job.load, seconds=seconds, passes="wide"
            )
        for sequence in cached:
            yield from _step(runtime, running[sequence], batch.logits(sequence), keep_errors=keep_errors)
        began = runtime.clock()


def _close_gaps(batch: Batch, running: dict[int, Job]) -> None:
    """Let go of the jobs that have ended, and move the last sequences into their places: a pass goes up to the last."""
    for sequence in [sequence for sequence, job in running.items() if job.writer is None]:
        del running[sequence]
    for gap in range(len(running)):
        if gap not in running:
            last = max(running)
            batch.copy(last, gap)
            running[gap] = running.pop(last)


def _step(runtime: Runtime, job: Job, logits: NDArray[np.float32], *, keep_errors: bool) -> Iterator[Event]:
    """Draw a job's next token. At the answer's end nothing of it is kept: a writer holds half a megabyte."""
    error = ""
    try:
        if job.writer is None:
            job.writer = _writer(runtime, job)
        if isinstance(job.writer, Deliberation):
            yield from job.writer.step(logits)
            if job.writer.done and job.writer.finish_reason != "interrupted":
                _end_thoughts(runtime, job, job.writer)
                return
        elif drawn := job.writer.step(logits):
            yield drawn
        if not job.writer.finish_reason:
            return
    except PhiError as raised:
        if not keep_errors:
            raise
        error = str(raised)
    end = job.writer.finish() if job.writer else Finished(job.index, at=runtime.clock())
    yield msgspec.structs.replace(end, reason="error", error=error) if error else end
    if job.writer:
        job.writer.close()
    job.writer, job.prompt = None, TokenizedPrompt()


def _writer(runtime: Runtime, job: Job) -> Writer | Deliberation:
    """Return what draws the tokens of an answer, or of the thoughts before a choice."""
    model, _ = runtime.loaded
    thinks, clock = thinking(runtime, model, job.request), runtime.clock
    if job.options and thinks:
        request = replace(job.request, max_tokens=max(map(len, job.options)))
        return Deliberation(model, request, limit=job.limit, thinking=thinks, index=job.index, clock=clock)
    return Writer(model, job.request, limit=job.limit, thinking=thinks, index=job.index, clock=clock)


def _end_thoughts(runtime: Runtime, job: Job, deliberation: Deliberation) -> None:
    """Take the thoughts over, after which the choices may have other tokens than right after the prompt."""
    model, _ = runtime.loaded
    job.thoughts, job.writer = deliberation.tokens, None
    deliberation.close()
    if job.thoughts:
        job.options = read_choices(runtime, model, job.request, after=deliberation.tail)
