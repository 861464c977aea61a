"""Decide when to redraw an answer that grows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Clock: TypeAlias = Callable[[], float]

_SHARE = 60  # a redraw may take at most this fraction, 1/60, of the time between redraws
_LONGEST = 1.0  # seconds; an answer that stands still for longer looks like one that has stopped


class Pace:
    """Allows a redraw every ``interval`` seconds at most, and less often where redraws are slow. The first one does not
    count, since it includes imports.
    """

    def __init__(self, interval: float, clock: Clock = time.perf_counter) -> None:
        self._interval = interval
        self._clock = clock
        self._next = float("-inf")
        self._first = True

    @property
    def due(self) -> bool:
        return self._clock() >= self._next

    @contextmanager
    def drawing(self) -> Iterator[None]:
        started = self._clock()
        yield
        ended = self._clock()
        cost = 0.0 if self._first else ended - started
        self._first = False
        self._next = ended + max(self._interval, min(_SHARE * cost, _LONGEST))
