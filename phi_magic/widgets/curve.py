"""Draw the cumulative probability over all tokens of the vocabulary, before and after the truncation."""

from __future__ import annotations

from typing import Any

import anywidget
import numpy as np
import traitlets
from numpy.typing import NDArray

from ..parameters import SamplingParameters
from ..sampling import Stages
from .front_end import front_end

_POINTS = 120  # at most; evenly spaced on a logarithmic axis they look like all of them


class Curve(anywidget.AnyWidget):
    """Draws ``view``."""

    _esm = front_end("curve.js")
    _css = front_end("curve.css")
    view: Any = traitlets.Dict().tag(sync=True)


def view(stages: Stages, sampling: SamplingParameters) -> dict[str, Any]:
    """What ``curve.js`` draws: for some ranks, the sum of the probabilities of all tokens up to this rank.

    Args:
        sampling: the parameters that made ``stages``.
    """
    size = len(stages.raw)
    ranks = np.unique(np.geomspace(1, size, _POINTS).round().astype(int))
    sums = {
        "raw": _sums(np.sort(stages.raw)[::-1]),
        "after temperature": _sums(stages.tempered[stages.order]),
        "after the cuts": _sums(stages.kept[stages.order]),
    }
    tokens = int((stages.kept > 0).sum())
    return {
        "ranks": ranks.tolist(),
        "curves": {name: found[ranks - 1].round(4).tolist() for name, found in sums.items()},
        "lines": [] if sampling.greedy else _lines(stages, sums["after temperature"], sampling),
        "words": f"Of {size:,} tokens "
        + ", ".join(f"{_needed(found, 0.9):,} have 90 % {name}" for name, found in sums.items())
        + f"; the cuts leave {tokens:,}.",
    }


def _sums(falling: NDArray[np.float64]) -> NDArray[np.float64]:
    sums: NDArray[np.float64] = np.cumsum(falling)
    return np.minimum(sums, 1.0)


def _needed(sums: NDArray[np.float64], share: float) -> int:
    """How many of the likeliest tokens have this share of the probability."""
    return int(np.searchsorted(sums, share)) + 1


def _lines(stages: Stages, sums: NDArray[np.float64], sampling: SamplingParameters) -> list[dict[str, Any]]:
    """Where each parameter cuts the curve after the temperature: the last rank that it keeps, and the sum there."""
    found = []
    if 0 < sampling.top_p < 1:
        found.append((f"top-p {sampling.top_p:g}", _needed(sums, sampling.top_p), sampling.top_p))
    if 0 < sampling.top_k < len(sums):
        found.append((f"top-k {sampling.top_k:,}", sampling.top_k, float(sums[sampling.top_k - 1])))
    if sampling.min_p:
        last = int((stages.tempered >= sampling.min_p * stages.tempered.max()).sum())
        found.append((f"min-p {sampling.min_p:g}", last, float(sums[last - 1])))
    return [{"name": name, "rank": rank, "sum": total} for name, rank, total in found]
