"""A chunk of a table's requests, and what answers it in a process of an executor."""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ..errors import PhiError, RowsRefused
from ..interrupt import Interrupted, Stop
from ..models.files import resolve
from ..models.fingerprint import Identity
from .backend import Backend, Event, Started
from .computing import computer
from .request import GenerationRequest, is_address

_LOOK = 0.2  # seconds between two looks for the file that says stop


@dataclass(frozen=True)
class Order:
    """What all chunks of a table are sent with.

    Attributes:
        hashes: the SHA-256 that the file of each model must have; None where the one who asks has no such file.
        choose: gives what answers requests for some models.
        stop_file: a path; where a file appears there, nobody waits for the answers any more. It is seen by processes of
            the same machine, and of those that share the disk.
        keep_errors: see :meth:`phi_magic.generation.backend.Backend.generate_many`.
    """

    hashes: dict[str, str | None]
    choose: Callable[..., Backend]
    stop_file: Path
    keep_errors: bool


class Answered(msgspec.Struct):
    """A chunk's events, and the seconds that it took, loading the model left out."""

    events: list[Event]
    seconds: float


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Answered).decode


def answer_chunk(requests: Sequence[GenerationRequest], order: Order) -> bytes:
    """Answer a chunk where it was sent to, and return :class:`Answered` as MessagePack.

    Raises:
        PhiError: the model is not on this machine, or it is another file.
        RowsRefused: requests cannot be asked; none is answered.
    """
    stop, began = Stop(), time.perf_counter()
    events: list[Event] = []
    with _heeding(order.stop_file, stop), suppress(Interrupted):
        found = _checked(order, stop)
        where = {"host": platform.node(), **computer()}
        backend = order.choose([request.model for request in requests])
        for event in backend.generate_many(requests, stop, keep_errors=order.keep_errors):
            if isinstance(event, Started):
                sha256 = found[requests[event.index].model.name]
                told = {"engine": {**event.engine, **where}, "path": "", "model_sha256": sha256}
                events.append(msgspec.structs.replace(event, **told))
            else:
                events.append(event)
    load = max((event.load for event in events if isinstance(event, Started)), default=0.0)
    return encode(Answered(events, time.perf_counter() - began - load))


def refused_of(requests: Sequence[GenerationRequest], order: Order) -> dict[int, str]:
    """Tell which requests cannot be asked, and why; nothing is answered.

    A backend checks all requests before it answers one. With a request among them that has no room for any prompt, it
    answers none.
    """
    stop = Stop()
    roomless = replace(requests[0], n_ctx=1)
    with _heeding(order.stop_file, stop), suppress(Interrupted):
        try:
            for _ in order.choose([requests[0].model]).generate_many([*requests, roomless], stop):
                break
        except RowsRefused as error:
            return {number: reason for number, reason in error.reasons.items() if number < len(requests)}
    return {}


def sha256_of(name: str, stop: Stop, *, here: bool = False) -> str | None:
    """The hash of a model's file; None of a server's model.

    Args:
        here: whether the model must be on this machine; else the hash is None where it is not.

    Raises:
        PhiError: it must be here, and is not.
        Interrupted: ``stop`` was set.
    """
    if is_address(name):
        return None
    try:
        file = resolve(name, download=False)
    except PhiError:
        if here:
            raise
        return None
    identity = Identity(file.path, file.sha256)
    identity.wait(stop)
    stop.check()
    return identity.sha256


def _checked(order: Order, stop: Stop) -> dict[str, str | None]:
    """The hashes of the models' files here.

    Raises:
        PhiError: a file is not here, or is another one than was asked for.
    """
    found = {name: sha256_of(name, stop, here=True) for name in order.hashes}
    for name, sha256 in order.hashes.items():
        if sha256 and found[name] != sha256:
            raise PhiError(
                f"{platform.node()}: its file of {name} is another one (SHA-256 {str(found[name])[:12]}…, asked was for "
                f"{sha256[:12]}…): put the same file on every machine"
            )
    return found


@contextmanager
def _heeding(stop_file: Path, stop: Stop) -> Iterator[None]:
    """Set the stop as soon as the file is there."""
    over = threading.Event()

    def watch() -> None:
        while not stop_file.exists():
            if over.wait(_LOOK):
                return
        stop.set()

    threading.Thread(target=watch, name="phi_magic stop file", daemon=True).start()
    try:
        yield
    finally:
        over.set()
