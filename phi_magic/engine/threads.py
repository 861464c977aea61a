"""Choose the number of threads for a pass, by measuring passes on this machine.

The threads of a pass wait for one another after every operation. Where other processes want the same cores, one thread
can be twice as fast as two (docs/performance.md). The logits do not depend on the number of threads.
"""

from __future__ import annotations

_KEPT = 0.7  # weight of the old average at each new observation
_CALM, _SLOW = 128, 12  # passes between two trials: at the usual speed, and when passes have become slower
_LONGER = 1.4
_FIRST = 8  # passes before the first trial, which a shorter answer does without
_TRIAL = 2  # passes of a trial
_HOPELESS = 1.3  # the share of a pass's time at which a trial ends with its first pass
_BETTER = 0.9  # the share of a pass's time that another number of threads must fall below
_RELAXED = 1.005  # a pass takes longer as the context fills


class Threads:
    """Tries half and twice as many threads now and then, and keeps the number with the shortest passes.

    Args:
        most: threads to begin with, and never to go beyond.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = most  #: the best number known
        self._seconds: dict[int, float] = {}  # of a pass, by threads
        self._fastest = float("inf")
        self._until = _FIRST  # passes before the next trial
        self._trial: list[float] | None = None
        self._tried = most

    @property
    def count(self) -> int:
        """How many threads to evaluate the next pass with."""
        return self._count if self._trial is None else self._tried

    def took(self, seconds: float) -> None:
        """The last pass, over :attr:`count` threads, took so many seconds."""
        if self._most == 1:
            return
        if self._trial is not None:
            self._trial.append(seconds)
            if len(self._trial) == _TRIAL or seconds > _HOPELESS * self._seconds[self._count]:
                self._end_trial(min(self._trial))
            return
        old = self._seconds.get(self._count, seconds)
        self._seconds[self._count] = _KEPT * old + (1 - _KEPT) * seconds
        self._fastest = min(self._fastest * _RELAXED, seconds)
        self._until -= 1
        if self._seconds[self._count] > _LONGER * self._fastest:
            self._until = min(self._until, _SLOW)
        if self._until <= 0:
            self._tried = self._next()
            self._trial = []

    def _end_trial(self, seconds: float) -> None:
        self._trial = None
        better = seconds < _BETTER * self._seconds[self._count]
        if better:
            self._count = self._tried
        self._seconds[self._tried] = seconds
        self._fastest = min(self._fastest, seconds)
        # The next number in this direction may be better still. Other work on the machine, the reason for fewer
        # threads, ends at some time, so more threads are tried soon.
        self._until = _TRIAL if better else _CALM if self._count == self._most else _SLOW

    def _next(self) -> int:
        """Return the number to try: twice as many and half as many take turns, within the bounds."""
        fewer, more = max(1, self._count // 2), min(self._most, self._count * 2)
        return fewer if more == self._count or (self._tried > self._count and fewer < self._count) else more
