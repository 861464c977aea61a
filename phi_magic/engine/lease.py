"""A model's file, kept as it is while llama.cpp has it mapped.

A mapped file that becomes shorter loses its pages, and the next look at one of them ends the process (SIGBUS): ``cp``
and ``curl -o`` onto a model write in place. Linux grants leases (fcntl(2)): whoever wants to write or to shorten the
file then waits, and its holder is told, who has ``/proc/sys/fs/lease-break-time``, 45 seconds, to let go of it.
Replacing or deleting a file is no danger: the mapped one lives on.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_OWNER_EX, _THREAD = 15, 0  # F_SETOWN_EX and F_OWNER_TID, which Python does not name


def safe_to_map(path: Path) -> bool:
    """Whether a file that cannot be leased will not become shorter.

    The hub's cache names a file by its content and puts it there whole. What this user may not write (a model that all
    users of a machine share) is left to whoever may: mapped, it is in memory once for all of them.
    """
    return path.resolve().parent.name == "blobs" or not os.access(path, os.W_OK)


class Lease:
    """A read lease on a file, given back with :meth:`close`.

    Args:
        on_break: called once, on the lease's own thread, when somebody wants to write; it must see to it that
            :meth:`close` is called soon.

    Raises:
        OSError: none can be had: somebody writes the file now, it is another user's, or its file system has no leases.
    """

    def __init__(self, path: Path, on_break: Callable[[], None]) -> None:
        if sys.platform != "linux":
            raise OSError("this system has no leases")
        self.path = path
        self.broken = False
        self._on_break = on_break
        self._lock = threading.Lock()
        self._watching = True
        self._closed = False
        self._refused: OSError | None = None
        self._ready = threading.Event()
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._watch, name="phi_magic-lease", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            os.close(self._file)
            raise
        self._ready.wait()
        if self._refused:
            raise self._refused

    def close(self) -> None:
        """Let the writers go on."""
        import fcntl  # not everywhere

        with self._lock:
            if self._closed:
                return
            self._closed = True
            with suppress(OSError):  # closing is not enough: a forked child has the file open too
                fcntl.fcntl(self._file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            os.close(self._file)
            if self._watching and self._thread.ident:  # a thread that has ended must not be sent a signal
                signal.pthread_kill(self._thread.ident, signal.SIGIO)

    def _watch(self) -> None:
        import fcntl  # not everywhere

        try:
            # The signal comes to this thread alone, which waits for it; nobody's handler is touched.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
            fcntl.fcntl(self._file, _OWNER_EX, struct.pack("ii", _THREAD, threading.get_native_id()))
            fcntl.fcntl(self._file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            self._refused = error
            self.close()
        finally:
            self._ready.set()
        while self._waiting():
            signal.sigwaitinfo({signal.SIGIO})
            with self._lock:
                self.broken = not self._closed and fcntl.fcntl(self._file, fcntl.F_GETLEASE) != fcntl.F_RDLCK
        if self.broken:
            self._on_break()

    def _waiting(self) -> bool:
        with self._lock:
            self._watching = not (self._closed or self.broken)
            return self._watching
