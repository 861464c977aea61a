"""llama.cpp's samplers, in the reference's order."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import PhiError
from ..parameters import SamplingParameters
from ..sampling import likeliest
from .llama import C, freed_on_error

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class Chance(NamedTuple):
    """A token and its chances; see :class:`phi_magic.reply.Alternative`."""

    token: int
    logprob: float
    probability: float


class Draw(NamedTuple):
    """The token that was drawn, its chances, its place among all, and the likeliest ones."""

    token: int
    logprob: float
    probability: float
    rank: int
    top: list[Chance]


class Sampler:
    """Penalty on generated tokens, temperature, top-p, top-k, min-p, draw; freed with :meth:`close`.

    In the reference top-p applies to the whole distribution. llama.cpp's samplers renormalise after each truncation, so
    top-p must come before top-k to keep the same tokens as the reference.
    """

    def __init__(self, sampling: SamplingParameters, seed: int, n_vocab: int) -> None:
        self._candidates = np.zeros(n_vocab, dtype=_CANDIDATE)
        self._ids = np.arange(n_vocab, dtype=np.int32)
        self._array = C.llama_token_data_array()
        self._greedy = sampling.greedy
        self.chain = C.llama_sampler_chain_init(C.llama_sampler_chain_default_params())
        with freed_on_error(self):
            self._fill(sampling, seed, n_vocab)

    def _fill(self, sampling: SamplingParameters, seed: int, n_vocab: int) -> None:
        if sampling.repeat_penalty != 1 and sampling.repeat_last_n:
            self._add(
                C.llama_sampler_init_penalties(n_vocab, sampling.repeat_last_n, sampling.repeat_penalty, 0.0, 0.0)
            )
        if sampling.greedy:
            self._add(C.llama_sampler_init_greedy())
            return
        self._add(C.llama_sampler_init_temp(sampling.temperature))
        if 0 < sampling.top_p < 1:
            self._add(C.llama_sampler_init_top_p(sampling.top_p, 1))
        if sampling.top_k:
            self._add(C.llama_sampler_init_top_k(sampling.top_k))
        if sampling.min_p:
            self._add(C.llama_sampler_init_min_p(sampling.min_p, 1))
        self._add(C.llama_sampler_init_dist(seed))

    def _add(self, sampler: ctypes.c_void_p) -> None:
        C.llama_sampler_chain_add(self.chain, sampler)

    def draw(
        self,
        logits: NDArray[np.float32],
        *,
        forced: int | None = None,
        top: int = 0,
        allowed: NDArray[np.intp] | None = None,
    ) -> Draw:
        """Draw the next token and remember it as generated.

        Args:
            logits: shape ``(n_vocab,)``; left as they are.
            forced: a token to take in place of the drawn one.
            top: how many of the likeliest tokens to return.
            allowed: ids of the tokens that may be drawn; all where left out. The others are as if they did not exist.

        Raises:
            PhiError: the logits are no numbers.
        """
        greatest = logits.max()  # NaN if any logit is NaN
        if not np.isfinite(greatest):
            raise PhiError("the model's scores are not numbers: its file is damaged; get it again")
        size = len(self._candidates) if allowed is None else len(allowed)
        self._candidates["id"][:size] = self._ids if allowed is None else allowed
        self._candidates["logit"][:size] = logits if allowed is None else logits[allowed]
        self._array.data = self._candidates.ctypes.data_as(C.llama_token_data_p)
        self._array.size = size
        self._array.selected = -1
        self._array.sorted = False
        C.llama_sampler_apply(self.chain, ctypes.byref(self._array))
        kept = self._candidates[: self._array.size]
        selected = self._array.selected
        token = int(kept["id"][selected]) if forced is None else forced
        if self._greedy:  # llama.cpp's sampler leaves the probabilities at 0
            kept = kept[selected : selected + 1]
            kept["p"] = 1
        self.accept([token])
        log_mass = float(greatest) + math.log(float(np.exp(logits - greatest).sum(dtype=np.float64)))

        def chance(token: int) -> Chance:
            places = np.flatnonzero(kept["id"] == token)
            return Chance(token, float(logits[token]) - log_mass, float(kept["p"][places[0]]) if len(places) else 0.0)

        rank = int((logits > logits[token]).sum()) + 1
        return Draw(*chance(token), rank, [chance(int(other)) for other in likeliest(logits, top)])

    def skip(self, token: int) -> None:
        """Remember a token as generated, and skip its random number: llama.cpp draws one for each token."""
        self._candidates[0] = (token, 0.0, 0.0)
        self._array.data = self._candidates.ctypes.data_as(C.llama_token_data_p)
        self._array.size = 1
        self._array.selected = -1
        C.llama_sampler_apply(self.chain, ctypes.byref(self._array))
        self.accept([token])

    def accept(self, tokens: Iterable[int]) -> None:
        """Add tokens to the generated ones, oldest first."""
        for token in tokens:
            C.llama_sampler_accept(self.chain, token)

    def close(self) -> None:
        chain, self.chain = self.chain, None
        if chain:
            C.llama_sampler_free(chain)  # frees the samplers in it too
