"""Many requests on the processes of an executor: those of this machine, or of a cluster.

Any ``concurrent.futures.Executor`` will do. Requests go out in chunks (:mod:`.chunk`). The worker of a chunk finds the
model by its name, checks its hash, loads it once, and answers the requests together as a map does here. An answer does not
depend on the other requests of its chunk, so it does not depend on the cuts.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from ..errors import PhiError, RowsRefused, WorkerEnded
from ..interrupt import Stop
from ..machine import physical_cores
from ..paths import cache_folder
from .backend import Backend, Event, OnStatus, Started, ignore_status
from .chunk import Order, answer_chunk, decode, refused_of, sha256_of
from .cutting import Chunk, Waiting
from .request import GenerationRequest, is_address
from .wrapper import BackendWrapper

_WORKERS = 8  # assumed where the executor does not say how many it has
_AHEAD = 2  # chunks for each worker that are with the executor: the one that runs, and the next
_MANY = 256  # chunks that are with an executor that does not say how many workers it has
_CHECKED = 1_000  # rows that are checked together
_TRIES = 3
_DAY = 86_400  # seconds
_GLANCE = 0.05  # seconds between two looks at the stop

_log = logging.getLogger("phi_magic")


class Distributed(BackendWrapper):
    """A :class:`~phi_magic.generation.backend.Backend` that answers many requests on an executor's processes.

    Args:
        executor: what runs the chunks.
        backend: what does everything else, and the rest where the executor breaks.
        choose: called in the executor's processes with the models of a chunk; returns what answers them there.
    """

    def __init__(self, executor: object, backend: Backend, choose: Callable[..., Backend]) -> None:
        if not isinstance(executor, Executor):  # Dask's Client has a submit too, with futures of another kind
            advice = ": give its get_executor()" if hasattr(executor, "get_executor") else ""
            raise PhiError(f"executor takes a concurrent.futures.Executor, not a {type(executor).__name__}{advice}")
        super().__init__(backend)
        self._executor = executor
        self._choose = choose

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
            PhiError: a worker has no such model, or another file of that name; or the executor takes no work.
        """
        on_status(f"{len(requests):,} rows for the executor")
        hashes = {name: sha256_of(name, stop) for name in dict.fromkeys(request.model.name for request in requests)}
        workers, threads = _number_of_workers(self._executor), _threads(self._executor)
        waiting = Waiting([_sendable(request, threads) for request in requests], workers or _WORKERS)
        running: dict[Future[bytes], Chunk] = {}
        try:
            with _stop_file(running) as path:
                order = Order(hashes, self._choose, path, keep_errors)
                yield from self._answers(waiting, running, order, stop, ahead=_AHEAD * workers if workers else _MANY)
        except BrokenExecutor as error:
            _log.warning(
                "the executor broke (%s); the rest is answered on this machine alone",
                f"{type(error).__name__}: {error}",
            )
            for chunk in running.values():
                waiting.put_back(chunk)
            yield from self._answer_here(waiting.rest(), len(requests), stop, keep_errors, on_status)
        except RowsRefused as error:
            for chunk in running.values():
                waiting.put_back(chunk)
            others = self._refused(waiting.rest(), order, stop)
            raise RowsRefused({**error.reasons, **others}, len(requests)) from None

    def _answers(
        self, waiting: Waiting, running: dict[Future[bytes], Chunk], order: Order, stop: Stop, *, ahead: int
    ) -> Iterator[Event]:
        machines: dict[str, str] = {}
        while waiting or running:
            while waiting and len(running) < ahead:
                chunk = waiting.next()
                try:
                    running[self._executor.submit(answer_chunk, chunk.requests, order)] = chunk
                except BrokenExecutor:
                    waiting.put_back(chunk)
                    raise
                except Exception as error:  # RuntimeError of one that was shut down, and whatever others have
                    raise PhiError(f"the executor takes no work: {type(error).__name__}: {error}") from error
            wait(running, timeout=_GLANCE, return_when=FIRST_COMPLETED)
            stop.check()
            for future in [one for one in running if one.done()]:  # wait() says nothing of one that was cancelled
                chunk = running[future]
                try:
                    answered = decode(future.result())
                except BrokenExecutor:
                    raise
                except CancelledError as error:
                    raise PhiError("the executor cancelled rows: it was shut down, or its workers are gone") from error
                except RowsRefused as error:
                    raise error.renumbered(chunk.numbers, len(error.reasons)) from None
                except Exception as error:
                    if isinstance(error, PhiError) and not isinstance(error, WorkerEnded):
                        raise
                    chunk.tries += 1
                    if chunk.tries == _TRIES:
                        raise PhiError(
                            f"the executor lost {_TRIES} times what answered the same rows: {error}"
                        ) from error
                    del running[future]
                    waiting.put_back(chunk)
                    continue
                del running[future]
                waiting.took(chunk, answered.seconds)
                _note_machines(machines, answered.events)
                yield from _arrived(answered.events, chunk.numbers)

    def _answer_here(
        self, rest: Sequence[tuple[int, GenerationRequest]], count: int, stop: Stop, keep: bool, on_status: OnStatus
    ) -> Iterator[Event]:
        numbers, requests = [number for number, _ in rest], [request for _, request in rest]
        try:
            for event in self._backend.generate_many(requests, stop, keep_errors=keep, on_status=on_status):
                yield msgspec.structs.replace(event, index=numbers[event.index])
        except RowsRefused as error:
            raise error.renumbered(numbers, count) from None

    def _refused(self, rest: Sequence[tuple[int, GenerationRequest]], order: Order, stop: Stop) -> dict[int, str]:
        """Which of the rows that nobody has answered cannot be asked; a server tells when it is asked alone."""
        rest = [(number, request) for number, request in rest if not is_address(request.model.name)]
        running: dict[Future[dict[int, str]], list[int]] = {}
        with suppress(Exception), _stop_file(running) as path:  # some refused rows are known: they are told in any case
            for begin in range(0, len(rest), _CHECKED):
                part = rest[begin : begin + _CHECKED]
                checking = self._executor.submit(
                    refused_of, [request for _, request in part], replace(order, stop_file=path)
                )
                running[checking] = [number for number, _ in part]
            while wait(running, timeout=_GLANCE).not_done:
                stop.check()
            return {
                numbers[number]: reason
                for future, numbers in running.items()
                for number, reason in future.result().items()
            }
        return {}


def _sendable(request: GenerationRequest, threads: int) -> GenerationRequest:
    """The request as it is the same on every machine: without this one's paths, and with the present as its date."""
    model = replace(request.model, path="", n_threads=request.model.n_threads or threads)
    return replace(request.dated(), model=model, identify=False)


def _number_of_workers(executor: Executor) -> int | None:
    """How many chunks an executor runs at the same time, where it says so."""
    client = getattr(executor, "_client", None)
    if callable(threads := getattr(client, "nthreads", None)):  # Dask's, by the address of each worker
        with suppress(Exception):  # of a client that was closed, which says so when it is given work
            return sum(threads().values()) or None
    told = (getattr(executor, name, None) for name in ("_max_workers", "num_workers"))
    return next((number for number in told if isinstance(number, int) and number > 0), None)


def _threads(executor: Executor) -> int:
    """Threads for a model in one of the executor's processes; 0: what suits its machine.

    ``_max_workers`` is known of concurrent.futures' and loky's executors, whose workers share this machine.
    """
    workers = getattr(executor, "_max_workers", None)
    return max(1, physical_cores() // workers) if isinstance(workers, int) and workers > 0 else 0


@contextmanager
def _stop_file(futures: Mapping[Future[Any], object]) -> Iterator[Path]:
    """A path that chunks are sent with. In the end those that wait are cancelled, and a file there stops those that run.

    Nothing tells when the last of them has seen it (a future of Dask is cancelled while its chunk runs): files of earlier
    days are removed when the next one is made.
    """
    path = cache_folder() / "stopped" / uuid.uuid4().hex
    try:
        yield path
    finally:
        left = [future for future in futures if not future.done()]
        if left:
            with suppress(OSError):  # a disk that cannot be written: the chunks that run go on to their ends
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
                for other in path.parent.iterdir():
                    if other.stat().st_mtime < time.time() - _DAY:
                        other.unlink()
        for future in left:
            future.cancel()


def _arrived(events: Sequence[Event], numbers: Sequence[int]) -> Iterator[Event]:
    """The events of a chunk as those of all requests, in the time of this machine."""
    last = max((event.at for event in events if not isinstance(event, Started)), default=0.0)
    later = time.perf_counter() - last
    for event in events:
        index = numbers[event.index]
        if isinstance(event, Started):
            yield msgspec.structs.replace(event, index=index)
        else:
            yield msgspec.structs.replace(event, index=index, at=event.at + later)


def _note_machines(machines: dict[str, str], events: Sequence[Event]) -> None:
    """Say once that answers come from machines whose results may differ."""
    before = len(machines)
    for event in events:
        if isinstance(event, Started):
            machines.setdefault(event.engine["computing"], event.engine["host"])
    if len(machines) == 2 > before:
        hosts = " and ".join(machines.values())
        _log.warning(
            "%s differ in processor or software: the same question may get another text on the other one", hosts
        )
