"""Speculative decoding by prompt lookup: text that repeats earlier text is decoded several tokens at a time.

Draft tokens are looked up in the tokens so far (Saxena 2023) and evaluated in the same pass as the token before them.
Then each token is drawn as always. At the first draw that differs from the draft, the rest of the pass is removed. So
the draws and their distribution are those of plain decoding; only the pass is wider.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from ..generation.backend import Step
from ..generation.plan import Plan
from ..interrupt import Stop
from .context import Context
from .writer import Writer

_SPAN = 3  # tokens before a draft that must be the same as the last ones
_FORGETS = 0.8  # weight of the old average at each new observation
_GAIN = 1.1  # the gain in speed that a wider pass must promise
_UNTRIED = 4  # draft tokens that are assumed to double the time of a pass that was not measured yet
EXACT_WIDTHS = (3, 6)
WIDTHS = (3, 7, 15, 31)


def widths(plan: Plan, *, exact: bool) -> tuple[int, ...]:
    """Return how many draft tokens a pass may have without breaking the promise that was asked for."""
    if not exact:
        return WIDTHS
    return tuple(width for width in EXACT_WIDTHS if plan.decodes_alike(width + 1))


class Lookup:
    """Finds the tokens that followed the last ones where these occurred before."""

    def __init__(self, tokens: Sequence[int] = ()) -> None:
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        for token in tokens:
            self.add(token)

    def add(self, token: int) -> None:
        if len(self._tokens) >= _SPAN:
            self._after[tuple(self._tokens[-_SPAN:])] = len(self._tokens)
        self._tokens.append(token)

    def draft(self, most: int) -> list[int]:
        at = self._after.get(tuple(self._tokens[-_SPAN:]))
        return [] if at is None else self._tokens[at : at + most]


class DraftLength:
    """Chooses how many draft tokens to evaluate, by how often they were right and what passes cost on this machine.

    Drafts are compared with the drawn tokens even if they were not evaluated. So a text that begins to repeat itself is
    noticed, and a text that does not costs nothing.

    Args:
        widths: how many draft tokens a pass may have.
        seconds: the time of a pass by its number of draft tokens; updated here, and kept for the model's next answer.
    """

    def __init__(self, widths: Sequence[int], seconds: dict[int, float] | None = None) -> None:
        self._widths = widths
        self._seconds = {} if seconds is None else seconds
        self._right = 0.0

    def judge(self, *, right: bool) -> None:
        self._right = _FORGETS * self._right + (1 - _FORGETS) * right

    def took(self, width: int, seconds: float) -> None:
        old = self._seconds.get(width, seconds)
        self._seconds[width] = _FORGETS * old + (1 - _FORGETS) * seconds

    def width(self) -> int:
        """The number of draft tokens that promises the most tokens a second; 0: none."""
        alone = self._seconds.get(0)
        if alone is None:
            return 0
        right = min(self._right, 0.99)

        def gain(width: int) -> float:
            tokens = (1 - right ** (width + 1)) / (1 - right)
            return tokens * alone / self._seconds.get(width, alone * (1 + width / _UNTRIED))

        best = max(self._widths, key=gain, default=0)
        return best if best and gain(best) >= _GAIN else 0


def advance(
    context: Context, writer: Writer, lookup: Lookup, length: DraftLength, *, room: int, stop: Stop
) -> Iterator[Step]:
    """Evaluate the writer's token with a draft of the next ones, and yield every drawn token.

    Args:
        room: how many tokens more may be evaluated.

    Raises:
        Interrupted: ``stop`` was set.
    """
    lookup.add(writer.token)
    width = length.width()
    draft = lookup.draft(min(max(width, 1), room - 1))
    evaluated = draft if width else []
    before = len(context.tokens)
    started = time.perf_counter()
    context.extend([writer.token, *evaluated], stop=stop)
    length.took(width if evaluated else 0, time.perf_counter() - started)
    kept = 0
    try:
        for row in range(len(evaluated) + 1):
            drawn = writer.step(context.row(row))
            if drawn is None:
                break
            if row < len(draft):
                length.judge(right=writer.token == draft[row])
            yield drawn
            if writer.finish_reason or row == len(evaluated) or writer.token != evaluated[row]:
                break
            lookup.add(writer.token)
            kept += 1
    finally:
        context.forget_after(before + 1 + kept)
