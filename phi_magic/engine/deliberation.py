"""What a reasoning model thinks before it chooses among given texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..generation.backend import Finished, Step
from ..generation.request import GenerationRequest
from ..reply import FinishReason
from .model import Model
from .thinking import Thinking
from .writer import Clock, Writer


class Deliberation:
    """Thoughts that are drawn like an answer's and end where the answer would begin. The choices are evaluated after them.

    A token that the answer would begin with is drawn and left out. White space between the thoughts and the answer
    stays, since the model writes it before its choice. A model that may think and does not leaves no token behind.

    Args:
        model: whose vocabulary the tokens are of.
        request: has the choices, and ``max_tokens`` for the longest of them.
        limit: the most tokens of thoughts and choice.
        thinking: how the thoughts begin and end.
        index: which request it is, for the events.
        clock: for the times of the steps.
    """

    def __init__(
        self, model: Model, request: GenerationRequest, *, limit: int, thinking: Thinking, index: int, clock: Clock
    ) -> None:
        told = replace(request, choices=(), stop=())
        self._writer = Writer(model, told, limit=limit, thinking=thinking, index=index, clock=clock)
        self._model = model
        self._thinking = thinking
        self._held: list[Step] = []  # steps that are thoughts if the model thinks at all
        #: Token ids of the thoughts with their tags; they go between the prompt and the choice.
        self.tokens: list[int] = []
        self.done = False

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the thoughts ended, if they did not end where the answer begins."""
        return self._writer.finish_reason

    @property
    def token(self) -> int:
        """The last token, to be evaluated next."""
        return self._writer.token

    def step(self, logits: NDArray[np.float32]) -> Iterator[Step]:
        """Draw the next token; yield the steps of those that are certain to be thoughts."""
        thinking = self._writer.thinking
        step = self._writer.step(logits)
        if step is not None:
            self._held.append(step)
        if thinking or self._writer.thinking or (self.tokens and not self._model.piece(self.token).strip()):
            self.tokens += [held.token.id for held in self._held if held.token]
            yield from self._held
            self._held = []
        self.done = self._writer.finish_reason is not None or not (self._writer.undecided or not self._held)
        if self.done and self._writer.thinking:  # the turn ended in the middle of a thought
            self.tokens += self._thinking.closing

    @property
    def tail(self) -> str:
        """The text of the thoughts after the last control token among them."""
        controls = {*self._model.controls.values()}
        at = max((at for at, token in enumerate(self.tokens, 1) if token in controls), default=0)
        return b"".join(map(self._model.piece, self.tokens[at:])).decode("utf-8", "replace")

    def finish(self) -> Finished:
        """Return the last event of an answer that was interrupted here."""
        return self._writer.finish()

    def close(self) -> None:
        """Free the sampler."""
        self._writer.close()
