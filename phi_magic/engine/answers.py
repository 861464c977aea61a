"""Many answers at once: their tokens are decoded together, as many in one pass as pay off."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from os.path import commonprefix

from ..generation.backend import Event, OnStatus, Started, ignore_status
from ..generation.request import GenerationRequest, ModelReference
from ..interrupt import Interrupted, Stop
from .answer import read_prompt, record
from .batch import WIDE, Batch
from .choices import Ballot, decide, read_choices
from .given import evaluate
from .model import Model
from .runtime import Runtime
from .writer import Writer


@dataclass
class _Job:
    """A request whose answer is to be made; the writer is there while it has a sequence of the batch."""

    index: int
    request: GenerationRequest
    prompt: list[int]
    limit: int
    left_out: int
    load: float = 0.0
    options: list[list[int]] = field(default_factory=list)  #: token ids of its choices
    writer: Writer | None = None

    @property
    def room(self) -> int:
        """Tokens of context that the prompt and the longest answer take."""
        return len(self.prompt) + self.limit


def write_all(
    runtime: Runtime, requests: Sequence[GenerationRequest], stop: Stop, *, on_status: OnStatus = ignore_status
) -> Iterator[Event]:
    """Answer many requests; see :meth:`phi_magic.generation.backend.Backend.generate_many`.

    Every answer is made in wide passes, in which a sequence's bits do not depend on the others
    (:mod:`phi_magic.engine.batch`): it is the same alone, in another order, or among others. ``Started.engine`` records
    that as ``pass``. Requests for different models or plans are answered one group after the other.

    Raises:
        PhiError: a request cannot be answered; before any answer is begun.
        Interrupted: ``stop`` was set before any answer was begun.
    """
    groups: dict[ModelReference, list[_Job]] = {}
    for index, request in enumerate(requests):
        groups.setdefault(request.model, []).append(_Job(index, request, [], 0, 0))
    for model, jobs in groups.items():
        began = runtime.clock()
        runtime.load(model, stop, on_status=on_status)
        jobs[0].load = runtime.clock() - began
        loaded, _ = runtime.loaded
        for job in jobs:
            what = f"prompt {job.index}" if len(requests) > 1 else "the prompt"
            _read(runtime, loaded, job, what)
            stop.check()
    for model, jobs in groups.items():
        runtime.load(model, stop, on_status=on_status)
        for alike in _by_factors(runtime, jobs):
            written = [job for job in alike if not job.options and job.request.given is None]
            ballots = [_ballot(job) for job in alike if job.options]
            if written:
                with closing(runtime.batch(len(written), max(job.room for job in written))) as batch:
                    yield from _decode(runtime, batch, written, stop)
            if ballots:
                count = sum(len(ballot.options) for ballot in ballots)
                with closing(runtime.batch(count, max(ballot.room for ballot in ballots))) as batch:
                    if len(ballots) > 1:
                        batch.share(_shared([ballot.prompt for ballot in ballots]), stop=stop)
                    yield from decide(runtime, batch, ballots, stop)
            for job in alike:
                if job.request.given is not None:
                    yield from evaluate(runtime, job.request, stop, index=job.index)


def _read(runtime: Runtime, model: Model, job: _Job, what: str) -> None:
    """Read a job's prompt and choices.

    Raises:
        PhiError: it cannot be answered.
    """
    request = job.request
    if request.choices:
        job.options = read_choices(runtime, model, request)
        request = replace(request, max_tokens=max(map(len, job.options)))
    job.prompt, job.limit, job.left_out = read_prompt(runtime, model, request, what=what)


def _ballot(job: _Job) -> Ballot:
    return Ballot(job.index, job.request, job.prompt, job.options, job.left_out, job.load)


def _by_factors(runtime: Runtime, jobs: Sequence[_Job]) -> list[list[_Job]]:
    """Part the jobs by the RoPE factors that they need: llama.cpp has one set for all sequences of a batch."""
    model, _ = runtime.loaded
    parts: dict[str | None, list[_Job]] = {}
    for job in jobs:
        parts.setdefault(model.rope_factors(job.room), []).append(job)
    return list(parts.values())


def _decode(runtime: Runtime, batch: Batch, jobs: Sequence[_Job], stop: Stop) -> Iterator[Event]:
    """The loop: fill as many sequences as pay off, decode one token for each, draw, until all is written."""
    waiting = deque(jobs)
    running: dict[int, _Job] = {}  # by the sequence of the batch
    try:
        if len(jobs) > 1:
            batch.share(_shared([job.prompt for job in jobs]), stop=stop)
        while waiting or running:
            while waiting and len(running) < min(batch.lanes, runtime.width.best):
                sequence = next(number for number in range(batch.lanes) if number not in running)
                running[sequence] = job = waiting.popleft()
                yield from _begin(runtime, batch, sequence, job, stop)
                if job.writer and job.writer.finish_reason:
                    yield _end(running.pop(sequence), job.writer)
            if running:
                writers = {sequence: job.writer for sequence, job in running.items() if job.writer}
                started = runtime.clock()
                batch.decode({sequence: writer.token for sequence, writer in writers.items()}, stop=stop)
                runtime.width.took(len(writers), runtime.clock() - started)
                for sequence, writer in writers.items():
                    if drawn := writer.step(batch.logits(sequence)):
                        yield drawn
                    if writer.finish_reason:
                        yield _end(running.pop(sequence), writer)
            stop.check()
    except Interrupted:
        for job in running.values():
            if job.writer:
                yield job.writer.finish()
    finally:
        for job in running.values():
            if job.writer:
                job.writer.close()


def _begin(runtime: Runtime, batch: Batch, sequence: int, job: _Job, stop: Stop) -> Iterator[Event]:
    """Read a job's prompt, and draw its first token."""
    began = runtime.clock()
    model, context = runtime.loaded
    cached = batch.prefill(sequence, job.prompt, stop=stop)
    yield Started(
        job.index,
        prompt_tokens=len(job.prompt),
        cached_tokens=cached,
        load=job.load,
        prompt=runtime.clock() - began,
        engine={**record(model, context.plan, job.room), "pass": "wide"},
        left_out=job.left_out,
        path=str(model.path),
    )
    job.writer = Writer(model, job.request, limit=job.limit, index=job.index, clock=runtime.clock)
    if drawn := job.writer.step(batch.logits(-1)):
        yield drawn


def _end(job: _Job, writer: Writer) -> Event:
    """End an answer, and keep nothing of it: a writer holds half a megabyte with a vocabulary of 32,000."""
    end = writer.finish()
    writer.close()
    job.writer, job.prompt = None, []
    return end


def _shared(prompts: Sequence[list[int]]) -> list[int]:
    """What all prompts begin with: all of it where they are the same, else cut so that a whole slice is left of each."""
    prefix = list(commonprefix(prompts))  # noqa: RUF071 (it takes any sequences)
    if len(prefix) == max(map(len, prompts)):
        return prefix
    return prefix[: max(0, min(map(len, prompts)) - WIDE)]
