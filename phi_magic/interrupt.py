"""Stopping an answer: by Ctrl-C, by the kernel's interrupt, by a button."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupted(Exception):
    """The work was stopped from outside before it was done."""


class Stop:
    """A flag that ends an answer at the next node of the graph or the next token.

    Within :meth:`interrupt_as_flag` Ctrl-C sets the flag. ``KeyboardInterrupt`` could come anywhere else: in a callback
    from C, where ctypes would swallow it, or in the middle of the bookkeeping for a token. The caller raises it when
    the reply is complete up to there.
    """

    def __init__(self) -> None:
        self.requested = False
        self.by_signal = False
        self._outside: list[Any] = []

    def set(self) -> None:
        self.requested = True

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self.by_signal = True
        self.requested = True

    @contextmanager
    def interrupt_as_flag(self) -> Iterator[None]:
        """Let Ctrl-C set the flag instead of raising; can be nested.

        It does nothing outside the main thread, where Python delivers no signals.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)
        if before in (signal.SIG_IGN, None):  # ignored by the user's wish, or not Python's to change
            yield
            return
        signal.signal(signal.SIGINT, self._on_signal)
        self._outside.append(before)
        try:
            yield
        finally:
            self._outside.pop()
            signal.signal(signal.SIGINT, before)

    @contextmanager
    def interrupt_at_the_end(self) -> Iterator[None]:
        """Complete the block first; if Ctrl-C came meanwhile, raise ``KeyboardInterrupt`` after it."""
        try:
            with self.interrupt_as_flag():
                yield
        except Interrupted:
            if not self.by_signal:
                raise
        if self.by_signal:
            self.by_signal = False
            raise KeyboardInterrupt

    @contextmanager
    def interrupt_at_once(self) -> Iterator[None]:
        """Let Ctrl-C end the block at once, for code within :meth:`interrupt_as_flag` that does not check the flag."""
        if not self._outside or threading.current_thread() is not threading.main_thread():
            yield
            return
        signal.signal(signal.SIGINT, self._outside[0])
        try:
            yield
        except KeyboardInterrupt:
            self.by_signal = self.requested = True
            raise Interrupted from None
        finally:
            signal.signal(signal.SIGINT, self._on_signal)

    def check(self) -> None:
        """Raise :class:`Interrupted` if the flag is set."""
        if self.requested:
            raise Interrupted


@contextmanager
def interruptible() -> Iterator[Stop]:
    """Give a block a stop that Ctrl-C sets; ``KeyboardInterrupt`` is raised after the block."""
    stop = Stop()
    with stop.interrupt_at_the_end():
        yield stop
