"""Choose which prompts are evaluated in one pass.

A pass has a fixed cost, whatever the number of its tokens: the weights are read and dequantised. So many short prompts
in one pass take less time than one after another. The logits after a prompt are the same in both cases
(docs/exactness.md).
"""

from __future__ import annotations

from collections.abc import Mapping

from .context import SLICE_MAX, SLICE_MIN

#: A pass takes about as long as this many tokens in a longer one: measured on two cores, 0.3 s and 0.016 s a token.
PASS = 16
#: The most prompts in one pass. Each has one row of logits, and only up to so many rows go through the kernels of one.
_MOST = SLICE_MIN - 1
_ENOUGH = 128  # tokens in a pass; more of them gain little


def passes(lengths: Mapping[int, int], spare: Mapping[int, int]) -> list[list[int]]:
    """Part sequences into those that one pass evaluates, the longest first.

    Where the tokens of two sequences differ by fewer than a pass costs, the shorter one is filled up. Sequences without
    tokens need no pass and are one group. Fewer tokens than a slice has go alone, through kernels of their own.

    Args:
        lengths: tokens of each sequence.
        spare: tokens for which each has room.
    """
    groups: list[list[int]] = []
    for sequence in sorted(lengths, key=lambda sequence: -lengths[sequence]):
        length = lengths[sequence]
        if groups and _joins(length, spare[sequence], len(groups[-1]), lengths[groups[-1][0]]):
            groups[-1].append(sequence)
        else:
            groups.append([sequence])
    return groups


def _joins(length: int, spare: int, count: int, longest: int) -> bool:
    """Whether a sequence becomes one more of a group of ``count``."""
    if not longest:
        return True
    return (
        length >= SLICE_MIN
        and longest - length < PASS
        and longest <= spare
        and count < _MOST
        and longest * (count + 1) <= SLICE_MAX
    )


def worth_waiting_for(length: int) -> int:
    """How many prompts of so many tokens to have for a pass before it pays."""
    return max(1, min(_MOST, _ENOUGH // max(length, SLICE_MIN)))
