"""Choose which prompts are evaluated in one pass.

A pass has a fixed cost, whatever the number of its tokens: the weights are read and dequantised. So many short prompts
in one pass take less time than one after another. The logits after a prompt are the same in both cases
(docs/exactness.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .context import SLICE_MAX, SLICE_MIN

#: A pass takes about as long as this many tokens in a longer one: measured on two cores, 0.3 s and 0.016 s a token.
PASS = 16
#: The most prompts in one pass. Each has one row of logits, and only up to so many rows go through the kernels of one.
_MOST = SLICE_MIN - 1
_ENOUGH = 128  # tokens in a pass; more of them gain little
# llama.cpp's kernels for K-quants (ggml-cpu/tiled, 0.3.36) take 16 tokens at a time, begun ones in full. Of more than 256
# tokens they make equal parts, and dequantise the weights for each part.
_TILE, _PART = 16, 256


def passes(lengths: Mapping[int, int], spare: Mapping[int, int]) -> list[list[int]]:
    """Part sequences into those that one pass evaluates, so that all passes together cost least; the longest first.

    In a pass all have as many tokens as the longest; the shorter ones are filled up. Sequences without tokens need no pass
    and are one group. Fewer tokens than a slice has go alone, through kernels of their own.

    Args:
        lengths: tokens of each sequence.
        spare: tokens for which each has room.
    """
    order = sorted(lengths, key=lambda sequence: -lengths[sequence])
    joinable = [sequence for sequence in order if lengths[sequence] >= SLICE_MIN]
    short = [[sequence] for sequence in order if 0 < lengths[sequence] < SLICE_MIN]
    empty = [sequence for sequence in order if not lengths[sequence]]
    return [*_cheapest(joinable, lengths, spare), *short, *([empty] if empty else [])]


def _cheapest(order: Sequence[int], lengths: Mapping[int, int], spare: Mapping[int, int]) -> list[list[int]]:
    """Cut a list of sequences, the longest first, into passes."""
    best: list[tuple[int, list[list[int]]]] = [(0, [])]  # of the first 0, 1, 2 and more: the cost, and the passes
    for end in range(1, len(order) + 1):
        found = []
        for count in range(1, min(_MOST, end) + 1):
            group = order[end - count : end]
            longest = lengths[group[0]]
            if count == 1 or (longest * count <= SLICE_MAX and all(spare[one] >= longest for one in group)):
                cost, before = best[end - count]
                found.append((cost + _cost(longest * count), [*before, list(group)]))
        best.append(min(found, key=lambda one: one[0]))
    return best[-1][1]


def _cost(count: int) -> int:
    """What a pass over so many tokens takes, in tokens of a long one."""
    parts = -(-count // _PART)
    tiles = -(-count // (parts * _TILE))  # of one part
    return parts * (PASS + tiles * _TILE)


def worth_waiting_for(length: int) -> int:
    """How many prompts of so many tokens to have for a pass before it pays."""
    return max(1, min(_MOST, _ENOUGH // max(length, SLICE_MIN)))
