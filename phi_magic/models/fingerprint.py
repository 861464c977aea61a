"""Compute the SHA-256 of a model's file once, beside the answer, and remember it in the user's cache folder.

A hash takes about a second for each GB. It is remembered for a path as long as the file's size and modification time
stay as they were, in one small file for each path, so that processes never rewrite what another has remembered.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
import threading
from pathlib import Path

from ..errors import PhiError
from ..interrupt import Stop
from ..paths import cache_folder, read_json, show_path

_PATIENCE = 0.02  # seconds between two looks at the stop flag


def sha256_of(path: Path) -> str:
    """Compute the SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, computed where it is not remembered.

    Raises:
        PhiError: the file cannot be read.
    """
    try:
        state = _state(path)
        remembered = _memory(path)
        if found := _recalled(remembered, state):
            return found
        sha256 = sha256_of(path)
        if _state(path) == state:  # nobody wrote to it meanwhile
            _remember(remembered, {**state, "sha256": sha256})
    except OSError as error:
        raise PhiError(f"{show_path(path)}: cannot be read: {error.strerror or error}") from error
    return sha256


def remembered_sha256(path: Path) -> str | None:
    """The SHA-256 of a file, where it is remembered and the file is as it was."""
    try:
        return _recalled(_memory(path), _state(path))
    except OSError:
        return None


def _state(path: Path) -> dict[str, object]:
    """Return the facts by which a changed content is noticed: size and modification time."""
    status = path.stat()
    return {"path": ascii(str(path.resolve())), "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _memory(path: Path) -> Path:
    """Where a path's hash is remembered."""
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
    return cache_folder() / "sha256" / f"{name}.json"


def _recalled(remembered: Path, state: dict[str, object]) -> str | None:
    """The hash that was remembered for a file in this state; None where there is none, or the memory is damaged."""
    try:
        told = read_json(remembered)
    except (OSError, ValueError):
        return None
    sha256 = told.pop("sha256", None) if isinstance(told, dict) else None
    return sha256 if isinstance(sha256, str) and told == state else None


def _remember(remembered: Path, told: dict[str, object]) -> None:
    """Write a hash down in one step, so that no process reads half of it."""
    # A cache folder that cannot be written costs the time of hashing again, and is no reason to refuse the hash.
    with contextlib.suppress(OSError):
        remembered.parent.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(dir=remembered.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(told, file)
            Path(unfinished).replace(remembered)
        except BaseException:
            Path(unfinished).unlink()
            raise


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
        with contextlib.suppress(PhiError):  # the file was deleted meanwhile: its hash stays unknown
            self.sha256 = file_sha256(self._path)


_running: dict[tuple[Path, int, int], _Hashing] = {}  # by path, size and modification time


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
    """The hash of a model's file, for the record; a file of the hub's cache and one of Ollama's bear it as their name.

    Any other file is hashed on a thread beside the answer, once however many ask for it meanwhile.
    """

    def __init__(self, path: Path, known: str | None = None) -> None:
        self._known = known
        self._thread: _Hashing | None = None
        if self._known is None:
            with contextlib.suppress(OSError, RuntimeError):  # no file, or no thread: the hash stays unknown
                self._thread = _hashing(path)

    @property
    def sha256(self) -> str | None:
        """None as long as it is not there."""
        return self._thread.sha256 if self._thread else self._known

    @property
    def pending(self) -> bool:
        """Whether it is being computed."""
        return self._thread is not None and self._thread.is_alive()

    def wait(self, stop: Stop) -> None:
        """Return once the hash is there, or ``stop`` is set."""
        while self._thread and self.pending and not stop.requested:
            self._thread.join(_PATIENCE)
