"""The draws of llama.cpp's sampler, made again from its seed without llama.cpp.

llama.cpp's ``llama_sampler_dist_apply`` (llama-cpp-python 0.3.36) keeps one ``std::mt19937`` for an answer and takes
one ``std::uniform_real_distribution<double>`` from it for each token, forced tokens included. The token is the first
candidate at which the running sum of the probabilities reaches that number. So the draw at each step is known from the
seed and the step alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .sampling import Sampling


def random_number(seed: int, step: int) -> float:
    """Return the number in [0, 1) that decides the token at ``step`` (0 for the first) of an answer with this seed.

    ``std::generate_canonical<double, 53>`` makes it of two 32-bit words, the low one first, in libstdc++ and libc++.
    """
    # The legacy generator is seeded as std::mt19937 is, and NumPy promises that its stream stays as it is.
    words = np.random.RandomState(seed).randint(0, 2**32, 2 * step + 2, dtype=np.uint32)
    low, high = map(float, words[-2:])
    return min((low + high * 2.0**32) / 2.0**64, float(np.nextafter(1.0, 0.0)))


def draw(p: NDArray[np.float64], number: float, sampling: Sampling) -> int:
    """Return the token that llama.cpp's sampler draws with this random number.

    llama.cpp computes in 32 bits and this in 64: where ``number`` falls within the rounding of a border between two
    tokens, about once in a million draws, the tokens can differ.

    Args:
        p: shape ``(n_vocab,)``, what is drawn from: :attr:`phi_magic.sampling.Stages.kept`.
        number: of :func:`random_number`.
        sampling: the parameters that made ``p``. They decide the candidates' order: top-p and top-k sort them by
            falling probability, and without both they stand in the order of their ids.
    """
    candidates = np.flatnonzero(p)
    if 0 < sampling.top_p < 1 or sampling.top_k:
        candidates = candidates[np.argsort(-p[candidates], kind="stable")]
    sums = np.cumsum(p[candidates])
    return int(candidates[np.searchsorted(sums, number * sums[-1])])
