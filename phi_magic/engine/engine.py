"""The model that this process holds, and whose turn it is to use it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import PhiError
from ..interrupt import Stop
from .context import Context
from .model import Model
from .plan import Plan
from .turn import Turn


class Engine:
    """At most one model, with one context; another model replaces it.

    Use it only between :meth:`turn`'s enter and exit.
    """

    def __init__(self) -> None:
        self._turn = Turn()
        self._process = os.getpid()
        self._key: tuple[object, ...] = ()
        self._idle: threading.Timer | None = None
        self.model: Model | None = None
        self.context: Context | None = None

    @contextmanager
    def turn(self, *, stop: Stop, keep_alive: float = -1, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Have the engine to oneself; ``keep_alive`` seconds after, unless used again, the model is freed.

        Raises:
            Interrupted: ``stop`` was set while waiting.
            PhiError: in a forked process, or when this thread has the turn already.
        """
        if os.getpid() != self._process:
            raise PhiError("a forked process cannot use its parent's model: start it with the 'spawn' method")
        self._turn.take(stop=stop, on_wait=on_wait)
        try:
            if self._idle:
                self._idle.cancel()
            yield
        finally:
            if keep_alive >= 0 and self.model:
                self._idle = threading.Timer(keep_alive, self._expire)
                self._idle.daemon = True
                self._idle.start()
            self._turn.give()

    def load(
        self, path: Path, plan: Plan, *, stop: Stop, on_progress: Callable[[float], None] = lambda _: None
    ) -> tuple[Model, Context]:
        """The model of a file, run after a plan; what was loaded already is used again, anything else is freed first."""
        status = path.stat()
        key = (path.resolve(), status.st_size, status.st_mtime_ns, plan)
        if self.model and self.context and key == self._key:
            return self.model, self.context
        self._free()
        self.model = Model(
            path,
            n_gpu_layers=plan.n_gpu_layers,
            repack=plan.repack,
            mmap=plan.mmap,
            stop=stop,
            on_progress=on_progress,
        )
        self.context = Context(self.model, plan)
        self._key = key
        return self.model, self.context

    def unload(self, stop: Stop | None = None) -> None:
        """Free the model, once nobody uses it."""
        with self.turn(stop=stop or Stop()):
            self._free()

    def _expire(self) -> None:
        if self._turn.try_take():
            try:
                self._free()
            finally:
                self._turn.give()

    def _free(self) -> None:
        if self.context:
            self.context.close()
        if self.model:
            self.model.close()
        self.context = self.model = None
        self._key = ()


#: A process has one memory, and it is the model that fills it: every ``Phi`` shares this one.
shared = Engine()
