"""Which file a model was: its SHA-256, found while the answer is written."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path

from ..errors import PhiError
from ..interrupt import Stop
from .files import file_sha256

_PATIENCE = 0.02  # seconds between two looks at the stop flag


class _Hashing(threading.Thread):
    """Hashes a file on a thread of the lowest priority, so that no token waits for it."""

    def __init__(self, path: Path) -> None:
        super().__init__(name="phi_magic-hash", daemon=True)
        self._path = path
        self.sha256: str | None = None

    def run(self) -> None:
        if sys.platform == "linux":  # elsewhere priorities belong to processes
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        with contextlib.suppress(PhiError):  # the file went away meanwhile: then nobody can know
            self.sha256 = file_sha256(self._path)


_running: dict[tuple[Path, int, int], _Hashing] = {}  # by what tells one content from another


def _hashing(path: Path) -> _Hashing:
    """The thread that hashes a file as it is now: one that runs already, or a new one."""
    status = path.stat()
    key = path, status.st_size, status.st_mtime_ns
    for other, done in [*_running.items()]:
        if not done.is_alive():
            _running.pop(other, None)
    if (thread := _running.get(key)) is None:
        thread = _Hashing(path)
        thread.start()
        _running[key] = thread
    return thread


class Identity:
    """The hash of a model's file, for the record; a file of the hub's cache bears it as its name.

    Any other takes about a second for each GB, the first time, however many ask for it meanwhile.
    """

    def __init__(self, path: Path, known: str | None = None) -> None:
        self._known = known
        self._thread: _Hashing | None = None
        if self._known is None:
            with contextlib.suppress(OSError, RuntimeError):  # it is gone, or no thread is to be had: nobody can know
                self._thread = _hashing(path)

    @property
    def sha256(self) -> str | None:
        """None as long as it is not there."""
        return self._thread.sha256 if self._thread else self._known

    def wait(self, stop: Stop) -> None:
        """Return once the hash is there, or ``stop`` is set."""
        while self._thread and self._thread.is_alive() and not stop.requested:
            self._thread.join(_PATIENCE)
