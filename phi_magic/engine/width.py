"""How many sequences to decode in one pass: found by doing it, while the first answers of a model are written."""

from __future__ import annotations

from .batch import WIDE

#: The most sequences in one pass. Beyond, reading the weights is shared already, and each needs memory of its own.
MOST = 64
_GAIN = 1.1  # what twice as many sequences must bring, in tokens per second
_TRIES = 2  # a width that disappoints may have met other work on the machine


class Width:
    """Climbs from ``WIDE`` sequences, twice as many at a time, for as long as a pass then makes more tokens a second.

    Passes cost differently on every machine: on one 8 at once gave 3.8 times the tokens of one alone and 32 gave 6.1,
    on another 1.7 and 4.4.
    """

    def __init__(self) -> None:
        self._rates: dict[int, float] = {}  # the best seen: what else the machine does only slows a pass down
        self._tries: dict[int, int] = {}

    def took(self, sequences: int, seconds: float) -> None:
        """A pass over one token of each of so many sequences took so long."""
        self._rates[sequences] = max(self._rates.get(sequences, 0.0), sequences / max(seconds, 1e-9))
        self._tries[sequences] = self._tries.get(sequences, 0) + 1

    @property
    def best(self) -> int:
        """How many to decode at once now: the width found, or the next to be tried."""
        width = WIDE
        while width < MOST and width in self._rates:
            wider = 2 * width
            if self._rates.get(wider, 0.0) < _GAIN * self._rates[width]:
                return width if self._tries.get(wider, 0) >= _TRIES else wider
            width = wider
        return width
