"""Many requests on the processes of an executor: those of this machine, or of a cluster.

Any ``concurrent.futures.Executor`` will do. Requests are cut into chunks before anything is sent. What runs a chunk finds
the model by its name, checks its hash, loads it once, and answers the requests together as a map does here. An answer does
not depend on the other requests of its chunk, so neither does it on how the requests are cut.
"""

from __future__ import annotations

import logging
import platform
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from ..errors import PhiError, RowsRefused
from ..interrupt import Stop
from ..machine import physical_cores
from ..models.files import resolve
from ..models.fingerprint import file_sha256
from .backend import Backend, Event, Finished, ModelInfo, OnStatus, Started, TokenText, ignore_status
from .computing import computing
from .position import Position
from .request import GenerationRequest, ModelReference, is_address

_LEAST, _MOST = 4_000, 60_000  # tokens of a chunk
_CHUNKS = 4  # of each worker, where their number is known: the last ones end at about the same time
_WORKERS = 8  # taken to be there where the executor does not say
_WAITING = 256  # chunks that are with the executor at the same time
_TRIES = 3
_GLANCE = 0.05  # seconds between two looks at the stop
_CHARACTERS = 4  # of a token, on average

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Event]).decode
_log = logging.getLogger("phi_magic")


@dataclass
class _Chunk:
    """Requests that are answered together; ``numbers`` are those of all requests."""

    numbers: list[int]
    requests: list[GenerationRequest]
    tries: int = 0


class Distributed:
    """A :class:`~phi_magic.generation.backend.Backend` that answers many requests on an executor's processes.

    Args:
        executor: what runs the chunks.
        backend: what does everything else, and the rest where the executor breaks.
        choose: called in the executor's processes with the models of a chunk; returns what answers them there.
    """

    def __init__(self, executor: Executor, backend: Backend, choose: Callable[..., Backend]) -> None:
        if not callable(getattr(executor, "submit", None)):
            raise PhiError(f"executor takes a concurrent.futures.Executor, not a {type(executor).__name__}")
        self._executor = executor
        self._backend = backend
        self._choose = choose
        # Known of the executors of this machine alone: concurrent.futures' and loky's.
        self._workers: int | None = getattr(executor, "_max_workers", None)

    def generate(
        self, request: GenerationRequest, stop: Stop, *, on_status: OnStatus = ignore_status
    ) -> Iterator[Event]:
        """See :meth:`phi_magic.generation.backend.Backend.generate`; one request is answered here."""
        return self._backend.generate(request, stop, on_status=on_status)

    def generate_many(
        self,
        requests: Sequence[GenerationRequest],
        stop: Stop,
        *,
        keep_errors: bool = False,
        on_status: OnStatus = ignore_status,
    ) -> Iterator[Event]:
        """See :meth:`phi_magic.generation.backend.Backend.generate_many`.

        A request that cannot be answered is found out when its chunk is answered, not before all others.

        Raises:
            PhiError: a worker has no such model, or another file of that name.
        """
        hashes = {name: _sha256(name) for name in dict.fromkeys(request.model.name for request in requests)}
        waiting = deque(self._chunks(requests))
        running: dict[Future[bytes], _Chunk] = {}
        machines: dict[str, str] = {}
        on_status(f"{len(waiting)} chunks for the executor")
        try:
            while waiting or running:
                while waiting and len(running) < _WAITING:
                    chunk = waiting.popleft()
                    running[self._executor.submit(answer_chunk, chunk.requests, hashes, self._choose)] = chunk
                done, _ = wait(running, timeout=_GLANCE, return_when=FIRST_COMPLETED)
                stop.check()
                for future in done:
                    chunk = running[future]
                    try:
                        events = _decode(future.result())
                    except BrokenExecutor:
                        raise
                    except (PhiError, CancelledError):
                        raise
                    except Exception as error:
                        chunk.tries += 1
                        if chunk.tries == _TRIES:
                            raise PhiError(
                                f"the executor lost {_TRIES} times what answered the same rows: {error}"
                            ) from error
                        del running[future]
                        waiting.appendleft(chunk)
                        continue
                    del running[future]
                    _note_machines(machines, events)
                    yield from _arrived(events, chunk, len(requests), keep_errors=keep_errors)
        except BrokenExecutor as error:
            _log.warning(
                "the executor broke (%s); the rest is answered on this machine alone",
                f"{type(error).__name__}: {error}",
            )
            rest = [*running.values(), *waiting]
            running = {}
            yield from self._answer_here(rest, stop, keep_errors=keep_errors, on_status=on_status)
        finally:
            for future in running:
                future.cancel()

    def _answer_here(self, chunks: Sequence[_Chunk], stop: Stop, **options: Any) -> Iterator[Event]:
        numbers = [number for chunk in chunks for number in chunk.numbers]
        requests = [request for chunk in chunks for request in chunk.requests]
        for event in self._backend.generate_many(requests, stop, **options):
            yield msgspec.structs.replace(event, index=numbers[event.index])

    def _chunks(self, requests: Sequence[GenerationRequest]) -> Iterator[_Chunk]:
        """Cut requests into chunks of about the same number of tokens, in their order."""
        sizes = [_tokens(request) for request in requests]
        target = max(_LEAST, min(_MOST, sum(sizes) // (_CHUNKS * (self._workers or _WORKERS))))
        threads = max(1, physical_cores() // self._workers) if self._workers else 0
        chunk, tokens = _Chunk([], []), 0
        for number, (request, size) in enumerate(zip(requests, sizes, strict=True)):
            if chunk.numbers and tokens + size > target:
                yield chunk
                chunk, tokens = _Chunk([], []), 0
            model = replace(request.model, path="", n_threads=request.model.n_threads or threads)
            chunk.numbers.append(number)
            chunk.requests.append(replace(request, model=model, identify=False))
            tokens += size
        if chunk.numbers:
            yield chunk

    def look(
        self,
        request: GenerationRequest,
        stop: Stop,
        *,
        before: Position | None = None,
        on_status: OnStatus = ignore_status,
    ) -> Position:
        """See :meth:`phi_magic.generation.backend.Backend.look`."""
        return self._backend.look(request, stop, before=before, on_status=on_status)

    def tokenize(self, model: ModelReference, text: str, stop: Stop) -> list[TokenText]:
        """See :meth:`phi_magic.generation.backend.Backend.tokenize`."""
        return self._backend.tokenize(model, text, stop)

    def load(self, model: ModelReference, stop: Stop, *, on_status: OnStatus = ignore_status) -> None:
        """See :meth:`phi_magic.generation.backend.Backend.load`."""
        self._backend.load(model, stop, on_status=on_status)

    def describe(self, model: ModelReference, n_ctx: int, stop: Stop) -> ModelInfo:
        """See :meth:`phi_magic.generation.backend.Backend.describe`."""
        return self._backend.describe(model, n_ctx, stop)

    def unload(self, stop: Stop) -> None:
        """See :meth:`phi_magic.generation.backend.Backend.unload`."""
        self._backend.unload(stop)


def answer_chunk(
    requests: Sequence[GenerationRequest], hashes: dict[str, str | None], choose: Callable[..., Backend]
) -> bytes:
    """Answer a chunk where it was sent to, and return its events as MessagePack.

    Args:
        requests: what is asked.
        choose: gives what answers requests for some models.
        hashes: the SHA-256 that the file of each model must have; None where the one who asks has no such file.

    Raises:
        PhiError: the model is not on this machine, or it is another file.
    """
    found = {name: _sha256(name, here=True) for name in hashes}
    for name, sha256 in hashes.items():
        if sha256 and found[name] != sha256:
            raise PhiError(
                f"{platform.node()}: its file of {name} is another one (SHA-256 {str(found[name])[:12]}…, asked was for "
                f"{sha256[:12]}…): put the same file on every machine"
            )
    backend = choose([request.model for request in requests])
    where = {"host": platform.node(), "computing": computing()[:12]}
    return _encode(
        [
            msgspec.structs.replace(
                event, engine={**event.engine, **where}, path="", model_sha256=found[requests[event.index].model.name]
            )
            if isinstance(event, Started)
            else event
            for event in backend.generate_many(requests, Stop(), keep_errors=True)
        ]
    )


def _arrived(events: Sequence[Event], chunk: _Chunk, count: int, *, keep_errors: bool) -> Iterator[Event]:
    """The events of a chunk as those of all requests, in the time of this machine.

    Raises:
        RowsRefused: requests of the chunk have errors, and errors are not kept.
    """
    failed = [event for event in events if isinstance(event, Finished) and event.reason == "error"]
    if failed and not keep_errors:
        reasons = {chunk.numbers[event.index]: event.error for event in failed}
        raise RowsRefused(reasons, count) if count > 1 else PhiError(failed[0].error)
    last = max((event.at for event in events if not isinstance(event, Started)), default=0.0)
    later = time.perf_counter() - last
    for event in events:
        index = chunk.numbers[event.index]
        if isinstance(event, Started):
            yield msgspec.structs.replace(event, index=index)
        else:
            yield msgspec.structs.replace(event, index=index, at=event.at + later)


def _note_machines(machines: dict[str, str], events: Sequence[Event]) -> None:
    """Say once that answers come from machines whose bits may differ."""
    before = len(machines)
    for event in events:
        if isinstance(event, Started):
            machines.setdefault(event.engine["computing"], event.engine["host"])
    if len(machines) == 2 > before:
        hosts = " and ".join(machines.values())
        _log.warning(
            "%s differ in processor or software: the same question may get another text on the other one", hosts
        )


def _sha256(name: str, *, here: bool = False) -> str | None:
    """The hash of a model's file; None of a server's model, and where this machine need not have the file and has not."""
    if is_address(name):
        return None
    try:
        file = resolve(name, download=False)
    except PhiError:
        if here:
            raise
        return None
    return file.sha256 or file_sha256(file.path)


def _tokens(request: GenerationRequest) -> int:
    """About how many tokens a request takes, without a tokenizer."""
    characters = sum(len(message.content) for message in request.messages)
    answer = max(map(len, request.choices)) // _CHARACTERS + 1 if request.choices else request.max_tokens
    return characters // _CHARACTERS + answer
