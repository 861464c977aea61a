"""A position in an answer: the logits for its next token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .parameters import SamplingParameters


@dataclass(frozen=True)
class Position:
    """The logits after a prompt and ``generated``.

    Attributes:
        generated: token ids of the answer so far.
        logits: shape ``(n_vocab,)``, the model's raw scores for the next token.
        names: of all tokens, as :attr:`phi_magic.reply.Alternative.text` has them.
        ends: ids of the tokens that end an answer.
        told: how many tokens have logits, where a server tells the likeliest ones alone; None: all.
        sampling: the sampling parameters that were asked with; :func:`phi_magic.distribution` takes them from here.
    """

    generated: tuple[int, ...]
    logits: NDArray[np.float32]
    names: Sequence[str]
    ends: frozenset[int]
    told: int | None = None
    sampling: SamplingParameters | None = None
