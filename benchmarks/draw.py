"""What drawing a token costs, by how sure the model is: ``python -m benchmarks.draw``.

The stand-in's random weights make nearly flat distributions, of which top-p must sort nearly all; those of a trained
model have a few bits.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import numpy as np

from phi_magic.engine.sampler import Sampler
from phi_magic.parameters import SamplingParameters

_VOCABULARY = 32_064  # Phi-3's
_DRAWS = 100
_SPREADS = (0.5, 2.0, 4.0, 6.0)  # standard deviations of the logits
_WAYS: dict[str, tuple[dict[str, Any], int]] = {
    "the defaults": ({}, 0),
    "with five alternatives": ({}, 5),
    "top-p off": ({"top_p": 1.0}, 0),
    "greedy": ({"temperature": 0}, 0),
}


def main() -> None:
    random = np.random.default_rng(0)
    print("| the distribution's entropy | " + " | ".join(f"{name}, ms" for name in _WAYS) + " |")
    print("| ---: |" + " ---: |" * len(_WAYS))
    for spread in _SPREADS:
        logits = (random.standard_normal(_VOCABULARY) * spread).astype(np.float32)
        p = np.exp(logits - logits.max())
        p /= p.sum()
        cells = []
        for settings, top in _WAYS.values():
            sampler, taken = Sampler(SamplingParameters(**settings), 1, _VOCABULARY), []
            for _ in range(_DRAWS):
                started = time.perf_counter()
                sampler.draw(logits, top=top)
                taken.append(time.perf_counter() - started)
            sampler.close()
            cells.append(f"{1000 * median(taken):.2f}")
        print(f"| {-(p * np.log2(p)).sum():.1f} bits | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
