"""The file that keeps answers: SQLite, which several kernels may use at the same time."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec

from ..errors import PhiError
from ..paths import cache_folder, expanded, show_path
from .backend import Event

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
        reason = getattr(error, "strerror", None) or error
        # SQLite's OperationalError is not the file's fault: no permission, no such folder, another process has it.
        advice = "" if isinstance(error, OSError | sqlite3.OperationalError) else "delete it, or "
        return PhiError(
            f"{show_path(self.path)}: cannot be used as a cache ({reason}); {advice}name another file for the cache"
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
