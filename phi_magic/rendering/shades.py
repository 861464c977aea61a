"""How deep a token is shaded: by its surprise in bits, or by its place among the tokens of its answer.

In bits the shades of two answers can be compared. Where most tokens of a long answer were certain, the places tell more
of them apart.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

from ..reply import Token

#: The scales, with what each is called.
SCALES = {"bits": "surprise in bits", "quantiles": "surprise, by its place in this answer"}

# One hue in several depths, half transparent: readable on white and on black, and for colour-blind readers.
HUE = "213, 94, 0"
_DEEPEST, _DEEPEST_BITS = 0.6, 8.0
_SWATCHES = (0.0, 0.25, 0.5, 0.75, 1.0)


def chance(logprob: float) -> float:
    """The model's own probability."""
    return math.exp(min(logprob, 0.0))


def bits(logprob: float) -> float:
    """Surprise: how many bits the token told that the model did not foresee."""
    return max(0.0, -logprob / math.log(2))


def shade(logprob: float) -> str:
    """The background of a token: clear where it was certain, the deeper the more it surprised."""
    return _colour(min(1.0, bits(logprob) / _DEEPEST_BITS))


def shades(tokens: Sequence[Token], scale: str) -> list[str]:
    """The background of each token of a whole answer, on one of the :data:`SCALES`.

    On ``quantiles`` the depth is the share of the answer's other tokens that surprised less.
    """
    if scale == "bits" or len(tokens) < 2:
        return [shade(token.logprob) for token in tokens]
    each = _surprises(tokens)
    in_order = sorted(each)
    return [_colour(bisect_left(in_order, surprise) / (len(each) - 1)) for surprise in each]


def legend(tokens: Sequence[Token], scale: str) -> list[tuple[str, str]]:
    """Some shades of the scale from clear to deepest, each with the surprise in bits that it stands for."""
    if scale == "bits" or len(tokens) < 2:
        return [(_colour(depth), f"{depth * _DEEPEST_BITS:g}{'+' * (depth == 1)}") for depth in _SWATCHES]
    in_order = sorted(_surprises(tokens))
    return [(_colour(depth), f"{in_order[math.ceil(depth * (len(in_order) - 1))]:g}") for depth in _SWATCHES]


def _surprises(tokens: Sequence[Token]) -> list[float]:
    """Surprises as they are shown: what looks the same has the same shade."""
    return [round(bits(token.logprob), 2) for token in tokens]


def _colour(depth: float) -> str:
    return f"rgba({HUE}, {_DEEPEST * depth:.2f})"
