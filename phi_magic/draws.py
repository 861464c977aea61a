"""Draw the tokens that llama.cpp's sampler draws, from logits and seed, without llama.cpp.

llama.cpp keeps one ``std::mt19937`` for an answer and takes one ``std::uniform_real_distribution<double>`` from it for
each token, forced tokens included. So the random number of a step is known from the seed and the step alone.

Source: ``llama_sampler_dist_apply`` and its neighbours in llama.cpp's ``llama-sampler.cpp`` (llama-cpp-python 0.3.36).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .parameters import SamplingParameters


def random_number(seed: int, step: int) -> float:
    """Return the number in [0, 1) that decides the token at ``step`` (0 for the first) of an answer with this seed.

    ``std::generate_canonical<double, 53>`` makes it of two 32-bit words, the low one first, in libstdc++ and libc++.
    """
    # The legacy generator is seeded as std::mt19937 is, and NumPy promises that its stream stays as it is.
    words = np.random.RandomState(seed).randint(0, 2**32, 2 * step + 2, dtype=np.uint32)
    low, high = map(float, words[-2:])
    return min((low + high * 2.0**32) / 2.0**64, float(np.nextafter(1.0, 0.0)))


def draw(logits: NDArray[np.float32], generated: Sequence[int], number: float, sampling: SamplingParameters) -> int:
    """Return the token that llama.cpp's sampler draws with this random number.

    llama.cpp computes in 32 bits, and so does this function: 120,000 draws gave the same tokens. With the 64-bit
    probabilities of :func:`phi_magic.distribution`, 14 of them differed.

    Args:
        logits: shape ``(n_vocab,)``.
        generated: token ids of the answer so far.
        number: of :func:`random_number`.
    """
    with np.errstate(all="ignore"):  # a user's np.seterr(all="raise") holds for the user's own figures
        return _drawn(np.array(logits, dtype=np.float32), generated, number, sampling)


def _drawn(scores: NDArray[np.float32], generated: Sequence[int], number: float, sampling: SamplingParameters) -> int:
    recent = list(set(generated[-sampling.repeat_last_n :])) if sampling.repeat_last_n else []
    at, penalty = scores[recent], np.float32(sampling.repeat_penalty)
    scores[recent] = np.where(at <= 0, at * penalty, at / penalty)
    if sampling.greedy:
        return int(scores.argmax())
    scores /= np.float32(sampling.temperature)

    tokens = np.arange(len(scores))  # candidates stand in the order of their ids until top-p or top-k sorts them
    if 0 < sampling.top_p < 1 or sampling.top_k:
        tokens = np.argsort(-scores, kind="stable")
    if 0 < sampling.top_p < 1:
        weights = _exp(scores - scores.max())
        sums = np.cumsum((weights / np.cumsum(weights)[-1])[tokens])
        tokens = tokens[
            : 1 + int(np.searchsorted(sums, np.float32(sampling.top_p)))
        ]  # includes the token that crosses the sum
    if sampling.top_k:
        tokens = tokens[: sampling.top_k]
    if sampling.min_p:
        tokens = tokens[scores[tokens] >= scores[tokens].max() + np.log(np.float32(sampling.min_p))]
    sums = np.cumsum(_exp(scores[tokens] - scores[tokens].max()), dtype=np.float64)
    return int(tokens[np.searchsorted(sums, number * sums[-1])])


def _exp(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return what the C library's ``expf`` gives: the exact value, rounded to 32 bits."""
    rounded: NDArray[np.float32] = np.exp(values, dtype=np.float64).astype(np.float32)
    return rounded
