"""Answers kept on disk: a request that was answered before is answered again without a model.

That is safe because an answer depends on nothing but its key: the request in its canonical form, the model file's SHA-256,
the kind of pass, what computes it (llama.cpp's libraries, the processor, this package), and what the plan depends on (memory,
GPUs). Only whole answers enter, and none that a machine of another kind made.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

import msgspec

from ..errors import PhiError, RowsRefused
from ..interrupt import Stop
from ..models.files import ModelFile, resolve
from ..models.fingerprint import Identity, remembered_sha256
from ..paths import cache_folder, expanded, show_path
from ..position import Position
from .backend import Backend, Event, Finished, ModelInfo, OnStatus, Started, Step, TokenText, ignore_status
from .computing import computer, computing
from .request import GenerationRequest, ModelReference, is_address

#: Bytes of a file beyond which the answers that were not used for longest are removed.
LARGEST = 1_000_000_000
_APPLICATION = 0x70686931  # "phi1": by it SQLite's header tells whose file it is
_PATIENCE = 10.0  # seconds that a write waits for another process

_EVICT = "DELETE FROM answers WHERE key IN (SELECT key FROM answers ORDER BY used LIMIT ?)"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Event]).decode
_log = logging.getLogger("phi_magic")


class Store:
    """A file with answers by their keys, which several processes and threads may use at the same time.

    Args:
        path: the file; it is made where there is none.
        largest: bytes that the answers may take.

    Raises:
        PhiError: the file is damaged, another program's, or cannot be written.
    """

    def __init__(self, path: Path, *, largest: int = LARGEST) -> None:
        self.path = path
        self._largest = largest
        self._lock = threading.Lock()
        self._failed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
            self._prepare()
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from None

    def _prepare(self) -> None:
        run = self._connection.execute
        tables = {name for (name,) in run("SELECT name FROM sqlite_master WHERE type = 'table'")}
        [application] = run("PRAGMA application_id").fetchone()
        if tables and application != _APPLICATION:
            raise PhiError(f"{show_path(self.path)}: is another program's file; name another one for the cache")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run(f"PRAGMA application_id = {_APPLICATION}")
        run("CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, used REAL NOT NULL, events BLOB NOT NULL)")
        run("CREATE INDEX IF NOT EXISTS by_use ON answers (used)")

    def get(self, key: bytes) -> list[Event] | None:
        """Return an answer's events, or None.

        Raises:
            PhiError: the file is damaged.
        """
        try:
            with self._lock:
                found = self._connection.execute("SELECT events FROM answers WHERE key = ?", (key,)).fetchone()
                if found:
                    with suppress(sqlite3.OperationalError):  # a full disk, or a file that may only be read
                        self._connection.execute("UPDATE answers SET used = ? WHERE key = ?", (time.time(), key))
            return _decode(found[0]) if found else None
        except (sqlite3.Error, msgspec.DecodeError) as error:
            raise self._unusable(error) from None

    def put(self, key: bytes, events: Sequence[Event]) -> None:
        """Keep an answer's events. Where they cannot be written, that is logged once, in one line."""
        try:
            with self._lock:
                run = self._connection.execute
                run("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (key, time.time(), _encode(events)))
                if self._bytes() > self._largest:
                    [count] = run("SELECT count(*) FROM answers").fetchone()
                    run(_EVICT, (max(1, count // 10),))
        except sqlite3.Error as error:
            if not self._failed:
                self._failed = True
                _log.warning("%s: answers are not kept: %s", show_path(self.path), error)

    def size(self) -> tuple[int, int]:
        """Return how many answers there are, and the bytes that they take."""
        try:
            with self._lock:
                [count] = self._connection.execute("SELECT count(*) FROM answers").fetchone()
                return count, self._bytes()
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def clear(self) -> None:
        """Remove all answers."""
        try:
            with self._lock:
                self._connection.execute("DELETE FROM answers")
                self._connection.execute("VACUUM")
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _bytes(self) -> int:
        run = self._connection.execute
        pages, free, size = (
            run(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def _unusable(self, error: Exception) -> PhiError:
        return PhiError(
            f"{show_path(self.path)}: cannot be used as a cache ({error}); delete it, or name another file for the cache"
        )


def default_path() -> Path:
    """Return the file that is used where none is named; it need not exist."""
    return cache_folder() / "answers.sqlite"


@cache
def _opened(path: Path, process: int) -> Store:
    return Store(path)


def opened(setting: str) -> Store:
    """Return the store that a value of the ``cache`` setting names; opened once in a process.

    Raises:
        PhiError: the file cannot be used.
    """
    path = default_path() if setting == "on" else expanded(setting).absolute()
    if not path.exists():
        _opened.cache_clear()  # it was deleted; an open one would write into nothing
    return _opened(path, os.getpid())


class Cached:
    """A :class:`~phi_magic.generation.backend.Backend` that answers from a store what it has, and asks another the rest.

    Args:
        backend: what answers the rest, and does everything else.
        store: the answers that there are.
    """

    def __init__(self, backend: Backend, store: Store) -> None:
        self._backend = backend
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
