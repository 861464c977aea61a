"""Answers kept on disk: a request that was answered before is answered again without a model.

That is safe because an answer depends on nothing but its key: the request in its canonical form, the model file's SHA-256,
the kind of pass, what computes it (llama.cpp's libraries, the processor, this package), and what the plan depends on (memory,
GPUs). Only whole answers enter, and none that a machine of another kind made.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec

from ..errors import PhiError, RowsRefused
from ..interrupt import Stop
from ..models.files import ModelFile, resolve
from ..models.fingerprint import Identity, remembered_sha256
from .backend import Backend, Event, Finished, OnStatus, Started, Step, ignore_status
from .computing import computer, computing
from .request import GenerationRequest, is_address
from .store import Store
from .wrapper import BackendWrapper


class Cached(BackendWrapper):
    """A :class:`~phi_magic.generation.backend.Backend` that answers from a store what it has, and asks another the rest.

    Args:
        backend: what answers the rest, and does everything else.
        store: the answers that there are.
    """

    def __init__(self, backend: Backend, store: Store) -> None:
        super().__init__(backend)
        self._store = store

    def generate(
        self, request: GenerationRequest, stop: Stop, *, on_status: OnStatus = ignore_status
    ) -> Iterator[Event]:
        """See :meth:`phi_magic.generation.backend.Backend.generate`."""
        keeping = _Keeping(self._store, _Lookups(), request, stop, together=bool(request.choices))
        if known := keeping.known():
            yield from known
            return
        events = self._backend.generate(request, stop, on_status=on_status)
        with closing(events):  # type: ignore[type-var]  # events are a generator's
            for event in events:
                keeping.add(event)
                yield event
        keeping.keep(wait=True)

    def generate_many(
        self,
        requests: Sequence[GenerationRequest],
        stop: Stop,
        *,
        keep_errors: bool = False,
        on_status: OnStatus = ignore_status,
    ) -> Iterator[Event]:
        """See :meth:`phi_magic.generation.backend.Backend.generate_many`; what is known comes first."""
        asked: list[tuple[int, _Keeping]] = []
        lookups = _Lookups()
        for index, request in enumerate(requests):
            keeping = _Keeping(self._store, lookups, request, stop, together=True)
            if known := keeping.known():
                yield from (msgspec.structs.replace(event, index=index) for event in known)
            else:
                asked.append((index, keeping))
            stop.check()
        if not asked:
            return
        others = [keeping.request for _, keeping in asked]
        events = self._backend.generate_many(others, stop, keep_errors=keep_errors, on_status=on_status)
        try:
            with closing(events):  # type: ignore[type-var]  # events are a generator's
                for event in events:
                    index, keeping = asked[event.index]
                    keeping.add(event)
                    keeping.keep()
                    yield msgspec.structs.replace(event, index=index)
            for _, keeping in asked:
                keeping.keep(wait=True)
        except RowsRefused as error:
            raise error.renumbered([index for index, _ in asked], len(requests)) from None
        finally:  # also where a caller needs no more, or the worker ended
            for _, keeping in asked:
                keeping.keep()


class _Lookups:
    """What the keys of a call's answers have in common: the models' files, and this machine. Each is looked up once."""

    def __init__(self) -> None:
        self._files: dict[str, ModelFile | None] = {}
        self._identities: dict[tuple[Path, str | None], Identity] = {}
        self.computer = computer()

    def file(self, name: str) -> ModelFile | None:
        """The model's file with its hash, where both are known."""
        if name not in self._files:
            self._files[name] = _found(name)
        return self._files[name]

    def identity(self, path: Path, known: str | None) -> Identity:
        """The hash of the file that answered."""
        if (path, known) not in self._identities:
            self._identities[path, known] = Identity(path, known)
        return self._identities[path, known]

    def foreign(self, started: Started) -> bool:
        """Whether a machine of another kind made the answer: an executor's says what it is."""
        return any(started.engine.get(name, value) != value for name, value in self.computer.items())


class _Keeping:
    """One request's answer, on its way from the store or into it.

    Where the hash of the model's file is not known yet, it is computed beside the answer, which is kept when it is known.
    """

    def __init__(
        self, store: Store, lookups: _Lookups, request: GenerationRequest, stop: Stop, *, together: bool
    ) -> None:
        self.request = request
        self._store = store
        self._lookups = lookups
        self._stop = stop
        self._pass = "wide" if together else "single"
        self._events: list[Event] = []
        self._path = Path()
        self._sha256: str | None = None
        self._lasting = request.exact  # whether the same question has this answer tomorrow, and on this machine
        self._identity: Identity | None = None  # of the model that wrote the whole answer

    def known(self) -> list[Event] | None:
        """The events of the answer, as of now; None where it is not there."""
        if not self.request.exact:
            return None
        file = self._lookups.file(self.request.model.name)
        if not (file and file.sha256):
            return None
        events = self._store.get(self._key(file.sha256))
        return [_again(event, file) for event in events] if events else None

    def add(self, event: Event) -> None:
        """Take in an event of a new answer; :meth:`keep` keeps a whole one."""
        self._events.append(event)
        if isinstance(event, Started):
            self._path, self._sha256 = Path(event.path), event.model_sha256
            dated = "now" in event.engine and not self.request.now
            self._lasting = self.request.exact and not dated and not self._lookups.foreign(event)
        if isinstance(event, Finished):
            if event.reason in ("stop", "length") and self._lasting:
                name = self.request.model.name
                self._identity = self._lookups.identity(self._path, name if is_address(name) else self._sha256)
            else:
                self._events = []

    def keep(self, *, wait: bool = False) -> None:
        """Put a complete answer into the store, once, as soon as the hash of the model's file is known.

        Args:
            wait: wait for the hash.
        """
        if self._identity is None:
            return
        if wait:
            self._identity.wait(self._stop)
        pending = self._identity.pending
        if self._identity.sha256:
            self._store.put(self._key(self._identity.sha256), self._events)
        if self._identity.sha256 or not pending:
            self._identity, self._events = None, []

    def _key(self, sha256: str) -> bytes:
        return _key(self.request, sha256, self._pass, self._lookups.computer["planning"])


def _found(name: str) -> ModelFile | None:
    """The model's file with its hash, where it is on this machine and they are known.

    That it is not there is the backend's to say.
    """
    if is_address(name):
        return ModelFile(name, Path(), sha256=name)
    try:
        file = resolve(name, download=False)
    except PhiError:
        return None
    return file if file.sha256 else ModelFile(file.name, file.path, sha256=remembered_sha256(file.path))


def _again(event: Event, file: ModelFile) -> Event:
    """A kept event as one of now; nothing was loaded, read or drawn for it."""
    now = time.perf_counter()
    if isinstance(event, Started):
        where = {"path": str(file.path), "model_sha256": file.sha256} if event.path else {}  # a server has no file
        return msgspec.structs.replace(event, load=0, prompt=0, from_cache=True, **where)
    return (
        msgspec.structs.replace(event, at=now, drawn=False)
        if isinstance(event, Step)
        else msgspec.structs.replace(event, at=now)
    )


def _key(request: GenerationRequest, sha256: str, kind: str, plan: str) -> bytes:
    """What an answer depends on, as 32 bytes.

    Args:
        plan: what the plan depends on; it is left out where the request has a plan, and for a server.
    """
    if request.model.plan or is_address(request.model.name):
        plan = ""
    nameless = replace(request, model=replace(request.model, name=""))  # the file is known by its hash
    parts = [nameless.canonical(), sha256.encode(), kind.encode(), computing().encode(), plan.encode()]
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).digest()
