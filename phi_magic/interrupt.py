"""Stopping an answer: by Ctrl-C, by the kernel's interrupt, by a button."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupted(Exception):
    """Something was stopped from outside before it was done."""


class Stop:
    """A flag that ends an answer at the next node of the graph or the next token.

    While it holds Ctrl-C back (:meth:`holding_interrupts`), a signal sets the flag instead of raising
    ``KeyboardInterrupt`` wherever Python happens to be: in the middle of a callback from C, where ctypes would swallow
    it, or half-way through the bookkeeping of a token. Whoever holds it raises when things are in order again.
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
    def holding_interrupts(self) -> Iterator[None]:
        """May be nested; outside the main thread, where Python delivers no signals, it does nothing."""
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
    def deferring_interrupts(self) -> Iterator[None]:
        """Hold Ctrl-C back until what must be done in one piece is done; raises ``KeyboardInterrupt`` then."""
        try:
            with self.holding_interrupts():
                yield
        except Interrupted:
            if not self.by_signal:
                raise
        if self.by_signal:
            self.by_signal = False
            raise KeyboardInterrupt

    @contextmanager
    def letting_interrupts(self) -> Iterator[None]:
        """Within :meth:`holding_interrupts`: let Ctrl-C raise again, for other people's code that knows no flag."""
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
        """Raises :class:`Interrupted` when the flag is set."""
        if self.requested:
            raise Interrupted
