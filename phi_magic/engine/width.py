"""Choose how many sequences to decode in one pass, by measuring passes while a model's first answers are written."""

from __future__ import annotations

from .batch import WIDE

#: The most sequences in one pass. With more, little time is saved by reading the weights once, and each needs memory.
MOST = 64
_GAIN = 1.1  # the gain in tokens per second that twice as many sequences must bring
_TRIES = 2  # trials of a width that is not faster: other work on the machine may have slowed it


class Width:
    """Begins with ``WIDE`` sequences and doubles them for as long as that gives more tokens per second.

    Passes cost differently on every machine: on one 8 at once gave 3.8 times the tokens of one alone and 32 gave 6.1,
    on another 1.7 and 4.4.
    """

    def __init__(self) -> None:
        self._rates: dict[int, float] = {}  # tokens per second, the most seen: other work only slows a pass
        self._tries: dict[int, int] = {}

    def took(self, sequences: int, seconds: float) -> None:
        """A pass over one token of each of so many sequences took so long."""
        self._rates[sequences] = max(self._rates.get(sequences, 0.0), sequences / max(seconds, 1e-9))
        self._tries[sequences] = self._tries.get(sequences, 0) + 1

    @property
    def best(self) -> int:
        """The number of sequences to decode at once: the one that was found best, or the next one to try."""
        width = WIDE
        while width < MOST and width in self._rates:
            wider = 2 * width
            if self._rates.get(wider, 0.0) < _GAIN * self._rates[width]:
                return width if self._tries.get(wider, 0) >= _TRIES else wider
            width = wider
        return width

    @property
    def most(self) -> int:
        """The greatest number that :attr:`best` may still become."""
        settled = self._tries.get(2 * self.best, 0) >= _TRIES
        return self.best if settled else MOST
