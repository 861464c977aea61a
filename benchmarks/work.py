"""What every contender is given to do, and how its process says what it took.

A contender is a process: a :class:`Work` as JSON on standard input, one JSON object of figures on standard output, as
``{"first_token": seconds, "prefill": {length: tokens per second}, "decode": {…}, "resident": bytes, "peak": bytes}``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

#: Tokens of the question that the first token is waited for with.
FIRST = 16
QUESTION = "Write a haiku about ice hockey"
#: Answers in one map.
ANSWERS = 32
#: Sequences in the bare passes that a map is compared with.
WIDTHS = (8, 16, 32, 64)


@dataclass(frozen=True)
class Work:
    """Lengths are prompts' tokens: all are given the same words, and speeds count the tokens that they became."""

    model: str
    prefill: tuple[int, ...] = (64, 256, 1024)
    decode: tuple[int, ...] = (256, 1024)
    tokens: int = 32  #: decoded, at each length
    answers: int = ANSWERS  #: answers in one map
    limit: float = 120  #: seconds; a length that would last longer is left out
    first: int = FIRST
    threads: int = 0  #: 0: as many as the contender takes by itself
    extras: tuple[str, ...] = ()  #: of "second turn", "map"
    plan: dict[str, Any] = field(default_factory=dict)  #: of our engine, what differs from its own choice

    @classmethod
    def read(cls) -> Work:
        return cls(**json.load(sys.stdin))

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @property
    def lengths(self) -> list[int]:
        return sorted({*self.prefill, *self.decode})


def words(length: int) -> str:
    """A question of so many tokens in Phi-3's template; another length begins with another word."""
    lead = ("one", "two", "three", "four", "five", "six", "seven")[length.bit_length() % 7]
    return lead + " the" * (length - 5)


def memory(*others: int) -> dict[str, int]:
    """Bytes of this process in memory, now and at most, and of other processes; 0 where the system does not tell."""
    figures = {"resident": 0, "peak": 0}
    for process in map(str, ("self", *others)):
        try:
            lines = Path(f"/proc/{process}/status").read_text().splitlines()
        except OSError:
            continue
        kilobytes = {line.split()[0]: int(line.split()[1]) for line in lines if line.startswith("Vm")}
        figures["resident"] += 1024 * (_proportional(process) or kilobytes["VmRSS:"])
        figures["peak"] += 1024 * kilobytes["VmHWM:"]
    return figures


def _proportional(process: int | str) -> int:
    """Kilobytes of a process, a page that others share with it counted in part; 0 where the system does not tell."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


class Lengths:
    """Measures prompts of growing length, until one would take longer than what is left."""

    def __init__(self, work: Work, clock: Callable[[], float]) -> None:
        self._work, self._clock = work, clock
        self.prefill: dict[int, float] = {}
        self.decode: dict[int, float] = {}

    def measure(self, ask: Callable[[int, int], tuple[int, float, int, float]]) -> None:
        """Args:
        ask: answers a prompt of a length with so many tokens; returns the prompt's tokens and the seconds for them,
            the tokens decoded after the first and the seconds for those.
        """
        started, slowest = self._clock(), 0.0
        for length in self._work.lengths:
            if self._clock() - started + slowest * length > self._work.limit:
                break
            decoding = length in self._work.decode
            read, reading, decoded, seconds = ask(length, self._work.tokens + 1 if decoding else 1)
            slowest = reading / read
            if length in self._work.prefill:
                self.prefill[length] = read / reading
            if decoding:
                if not decoded:
                    raise RuntimeError(f"the model ended its answer at once, after a prompt of {read} tokens")
                self.decode[length] = decoded / seconds
