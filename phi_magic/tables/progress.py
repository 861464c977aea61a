"""How far a map is: rows, tokens, speed and the time left, from the replies as they grow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from ..reply import Reply

Clock: TypeAlias = Callable[[], float]

_SETTLED = 1.0  # seconds until rates are told; those of the first moments say nothing


class Progress:
    """What is done of a number of rows. An update takes the same time however many rows there are.

    The fraction that is done counts tokens, those of prompts too, so that it grows before the first row is finished.
    A row that waits is expected to take the tokens of an average row. Rates and the time left are of the rows that are
    computed: a row from the cache takes no time, and neither does one that cannot be asked.

    Args:
        count: how many rows there are.
        most: the most tokens of an answer, which is what a row is expected to take until one is finished.
        clock: seconds.
    """

    def __init__(self, count: int, most: int, clock: Clock = time.perf_counter) -> None:
        self.count = count
        self.done = 0  #: rows that are finished, the failed ones included
        self.failed = 0  #: rows with an error in the place of an answer
        self.tokens = 0  #: of answers
        self.reused = 0  #: rows answered from the cache
        self._most = most
        self._clock = clock
        self._ended = bytearray(count)  # 1 for each row that is finished
        self._begun: dict[int, int] = {}  # the answer's tokens of each row that is being answered
        self._prompts = 0  # computed rows of which the prompt is evaluated
        self._prompt_tokens = 0  # evaluated for them
        self._finished_tokens = 0  # of computed rows
        self._load = 0.0  # seconds that loading the model took
        self._waited = 0.0  # seconds until nothing but answers was left to do
        self._fraction = 0.0
        self._started: float | None = None

    @classmethod
    def of(cls, replies: Sequence[Reply]) -> Progress:
        """The progress of replies that are still without text."""
        return cls(len(replies), max(map(_longest, replies), default=0))

    def following(self, stream: Iterable[int], replies: Sequence[Reply]) -> Iterator[int]:
        """Go through the numbers of the replies that grew, and take each in; the clock starts here."""
        self._started = self._clock()
        for index in stream:
            self.update(index, replies[index])
            yield index

    def wait(self) -> None:
        """Take in that something else than answers is done. Rates count from the last such moment before the first row."""
        if not self._prompts:
            self._waited = self.seconds

    def update(self, index: int, reply: Reply) -> None:
        """Take in a reply that has grown or is finished."""
        if self._ended[index]:
            return
        if reply.finish_reason != "interrupted":
            self._ended[index] = 1
            self.done += 1
        if reply.finish_reason == "error":
            self.failed += 1
        elif not reply.from_cache:
            self._compute(index, reply)
        elif self._ended[index]:
            self.reused += 1
            self.tokens += reply.usage.completion_tokens

    def _compute(self, index: int, reply: Reply) -> None:
        self._load = max(self._load, reply.timings.load)
        if index not in self._begun:
            self._prompts += 1
            self._prompt_tokens += reply.usage.prompt_tokens - reply.usage.cached_tokens
        self.tokens += reply.usage.completion_tokens - self._begun.get(index, 0)
        self._begun[index] = reply.usage.completion_tokens
        if self._ended[index]:
            del self._begun[index]
            self._finished_tokens += reply.usage.completion_tokens

    @property
    def fraction(self) -> float:
        """How much is done, from 0 to 1; never less than it was."""
        if self.done == self.count:
            self._fraction = 1.0
        else:
            rows = self.count - self.failed
            there = self.reused + self._computed * (rows - self.reused)
            self._fraction = max(self._fraction, min(there / rows, 0.99) if rows else 0.0)
        return self._fraction

    @property
    def _computed(self) -> float:
        """How much is done of the rows that are computed, from 0 to 1."""
        if not self._prompts:
            return 0.0
        answered = self.done - self.failed - self.reused
        expected = self._finished_tokens / answered if answered else self._most
        one = self._prompt_tokens / self._prompts + expected
        begun = sum(min(tokens, expected) for tokens in self._begun.values())
        rows = self.count - self.failed - self.reused
        if not rows:
            return 1.0
        return min((self._prompt_tokens + self._finished_tokens + begun) / (one * rows), 1.0) if one else 0.0

    @property
    def seconds(self) -> float:
        """Since the rows were asked about."""
        return 0.0 if self._started is None else self._clock() - self._started

    def line(self) -> str:
        """What is done, how fast it goes, and the time left."""
        parts = [f"{self.done:,} of {self.count:,} rows"]
        seconds, computed = self.seconds - max(self._load, self._waited), self._computed
        if seconds >= _SETTLED and computed:
            tokens = self._finished_tokens + sum(self._begun.values())
            rows = self.done - self.failed - self.reused
            parts += [f"{_digits(rows / seconds)} rows/s", f"{_digits(tokens / seconds)} tokens/s"]
            parts.append(f"{duration(seconds * (1 - computed) / computed)} left")
        return " · ".join(parts)

    def summary(self) -> str:
        """What came of it, in one line."""
        rows = f"{self.count:,} row{'s' * (self.count != 1)}"
        if self.done < self.count:
            rows = f"interrupted after {self.done:,} of {rows}"
        parts = [rows, f"{self.tokens:,} tokens", f"{self.failed:,} failed"]
        parts += [f"{self.reused:,} from the cache"] * bool(self.reused) + [duration(self.seconds)]
        return " · ".join(parts)


def duration(seconds: float) -> str:
    """Seconds in words, to two units: ``1 h 5 min``."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _longest(reply: Reply) -> int:
    """The most tokens of an answer; of a choice none is decoded."""
    return 1 if reply.params.get("choices") else int(reply.params.get("max_tokens", 0))


def _digits(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
