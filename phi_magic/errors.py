"""The one error a user's mistake raises."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_REASONS = 5  # different reasons that one line quotes
_RANGES = 50  # ranges of row numbers that one line lists


class PhiError(Exception):
    """A mistake that the user can correct: one line that says what was wrong and what to do.

    The magics show it as IPython's ``UsageError``, the terminal prints it and exits with status 2. Line breaks in the
    message, which may quote anything, become spaces, and what cannot be printed is escaped.
    """

    def __init__(self, message: str) -> None:
        line = " ".join(message.splitlines())
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line))


def wrong_type(error: Exception) -> str:
    """What msgspec found of another type than was declared, and where, in a user's words."""
    reason, _, where = str(error).partition(" - at `$.")
    told = re.sub(r"\w+", lambda found: _KINDS.get(found[0], found[0]), reason.replace("`", ""))
    return f"{where.rstrip('`') or 'an option'} has the wrong type: {told}"


_KINDS = {"Expected": "expected"} | {"int": "a whole number", "bool": "True or False", "str": "a text", "null": "None"}


class PromptTooLong(PhiError):
    """A prompt of ``tokens`` tokens, for a context that takes fewer than ``context``."""

    def __init__(self, message: str, tokens: int, context: int) -> None:
        super().__init__(message)
        self.tokens = tokens
        self.context = context

    def __reduce__(self) -> tuple[type[PromptTooLong], tuple[str, int, int]]:
        return type(self), (str(self), self.tokens, self.context)


class WorkerEnded(PhiError):
    """The process that runs the model ended: a crash in native code, the out-of-memory killer, ``kill``."""


class RowsRefused(PhiError):
    """Rows of a map that cannot be asked; ``reasons`` says why, by row number.

    Args:
        reasons: the reason for each refused row, by its number from 0.
        count: how many rows there are in all.
    """

    def __init__(self, reasons: Mapping[int, str], count: int) -> None:
        self.reasons = dict(reasons)
        self.count = count
        rows: dict[str, list[int]] = {}
        for number, reason in sorted(self.reasons.items()):
            rows.setdefault(reason, []).append(number)
        if len(reasons) == count and len(rows) == 1:  # one question, or the same mistake in every row
            super().__init__(next(iter(rows)))
            return
        groups = list(rows.items())
        parts = [f"{_listed(numbers)}: {reason}" for reason, numbers in groups[:_REASONS]]
        if rest := sorted(number for _, numbers in groups[_REASONS:] for number in numbers):
            parts.append(f"{_listed(rest)}: for like reasons")
        advice = "on_error='keep' (--on-error keep) asks the other rows"
        super().__init__(f"{len(reasons):,} of {count:,} rows cannot be asked. {'; '.join(parts)}. {advice}")

    def renumbered(self, numbers: Sequence[int], count: int) -> RowsRefused:
        """The same of ``count`` rows, of which the refused ones were among those with these numbers."""
        return RowsRefused({numbers[number]: reason for number, reason in self.reasons.items()}, count)

    def __reduce__(self) -> tuple[type[RowsRefused], tuple[dict[int, str], int]]:
        return type(self), (self.reasons, self.count)


def _listed(numbers: Sequence[int]) -> str:
    """Row numbers in ascending order, as text: ``rows 3, 7-9``."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    shown = [str(low) if low == high else f"{low}-{high}" for low, high in ranges[:_RANGES]]
    left_out = sum(high - low + 1 for low, high in ranges[_RANGES:])
    more = f" and {left_out:,} more" if left_out else ""
    return f"row{'s' * (len(numbers) > 1)} {', '.join(shown)}{more}"
