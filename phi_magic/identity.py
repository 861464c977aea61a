"""Which file a model was: its SHA-256, found while the answer is written."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

from .errors import PhiError
from .interrupt import Stop
from .models import ModelFile, file_sha256

_PATIENCE = 0.02  # seconds between two looks at the stop flag


class Identity:
    """The hash of a model's file, for the record; a file of the hub's cache bears it as its name.

    Any other takes about a second for each GB, the first time. A thread of the lowest priority does it, so that
    neither the first token nor the later ones wait for it.
    """

    def __init__(self, file: ModelFile) -> None:
        self.sha256 = file.sha256
        self._file = file
        self._thread = threading.Thread(target=self._hash, name="phi_magic-hash", daemon=True)
        if self.sha256 is None:
            self._thread.start()

    def wait(self, stop: Stop) -> None:
        """Return once the hash is there, or ``stop`` is set."""
        while self._thread.is_alive() and not stop.requested:
            self._thread.join(_PATIENCE)

    def _hash(self) -> None:
        if sys.platform == "linux":  # elsewhere priorities belong to processes
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        with contextlib.suppress(PhiError):  # the file went away meanwhile: then nobody can know
            self.sha256 = file_sha256(self._file.path)
