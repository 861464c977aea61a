"""Step through an answer, forward and back, and keep the logits of every step."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from .draws import draw, random_number
from .errors import PhiError
from .parameters import SamplingParameters
from .reply import Alternative, Message
from .sampling import Stages, stages

if TYPE_CHECKING:
    from .generation.plan import Plan
    from .interrupt import Stop
    from .phi import Phi
    from .position import Position

#: The names of the sampling parameters, in the order of the options.
PARAMETERS = tuple(field.name for field in fields(SamplingParameters))

_KEPT = 256  # positions whose logits are kept; 128 KB each with a vocabulary of 32,000


class Walk:
    """A path through the possible answers to one prompt: its position, the tokens before it, and tokens taken after it
    earlier.

    Args:
        settings: the model and the sampling parameters; they may change at any time (see :meth:`measure`).
        prompt: a question, or a conversation that ends with one.
        path: tokens that were written already; the walk begins before the first of them.
        raw: the prompt goes without the chat template.
        plan: how to run the model; what suits this machine where left out.
    """

    def __init__(
        self,
        settings: Phi,
        prompt: str | Sequence[Message],
        *,
        path: Sequence[Alternative] = (),
        raw: bool = False,
        plan: Plan | None = None,
    ) -> None:
        self.settings = settings
        self.path = list(path)
        self.at = 0
        self.stages: Stages | None = None  #: the current position; None until there are logits
        self._messages = prompt
        self._raw = raw
        self._plan = plan
        self._positions: OrderedDict[tuple[int, ...], Position] = OrderedDict()

    @property
    def question(self) -> str:
        return self._messages if isinstance(self._messages, str) else self._messages[-1]["content"]

    @property
    def position(self) -> Position | None:
        """The current position; None until there are logits."""
        return self._positions.get(self._ids(self.at))

    @property
    def ahead(self) -> int | None:
        """The token that was taken at this position before."""
        return self.path[self.at].id if self.at < len(self.path) else None

    @property
    def sampling(self) -> SamplingParameters:
        """The sampling parameters as they are now."""
        return SamplingParameters(**{name: getattr(self.settings, name) for name in PARAMETERS})

    def ask(self, question: str) -> None:
        """Go to the beginning of the answer to this question; the conversation before it stays."""
        if question != self.question:
            self.path = []
            if isinstance(self._messages, str):
                self._messages = question
            else:
                self._messages = [*self._messages[:-1], {"role": "user", "content": question}]
        self._positions.clear()
        self.at, self.stages = 0, None

    def go(self, at: int, stop: Stop, *, on_status: Callable[[str], None] = lambda _: None) -> None:
        """Go to the position before the path's token ``at``, or to the path's end if it is shorter.

        Raises:
            PhiError: the model cannot be had, or the answer has no room for more.
            Interrupted: ``stop`` was set.
        """
        ids = self._ids(at)
        if ids not in self._positions:
            self._positions[ids] = self.settings.look(
                self._messages,
                ids,
                raw=self._raw,
                before=next(iter(self._positions.values()), None),
                stop=stop,
                on_status=on_status,
                plan=self._plan,
            )
            if len(self._positions) > _KEPT:
                self._positions.popitem(last=False)
        self.at = len(ids)
        self.measure()

    def take(self, token: int, stop: Stop) -> bool:
        """Write this token next, and say whether the answer goes on after it.

        Another token than the one that was taken here before begins a branch: what was ahead is dropped.

        Raises:
            PhiError, Interrupted: as :meth:`go`; there is no such token.
        """
        here, seen = self._here()
        if not 0 <= token < len(here.names):
            raise PhiError(f"there is no token {token}")
        if token in here.ends:
            return False
        if self.ahead != token:
            p = float(seen.raw[token])
            logprob = math.log(p) if p else -math.inf
            self.path[self.at :] = [Alternative(token, here.names[token], logprob, float(seen.kept[token]))]
        self.go(self.at + 1, stop)
        return True

    def measure(self) -> None:
        """Take the sampling parameters as they are now; nothing is decoded."""
        if (here := self.position) is not None:
            self.stages = stages(here.logits, here.generated, **asdict(self.sampling))

    def drawn(self, seed: int) -> int:
        """Return the token that an answer with this seed has here."""
        here, _ = self._here()
        return draw(here.logits, here.generated, random_number(seed, self.at), self.sampling)

    def likeliest(self) -> int:
        """Return the likeliest token after the repeat penalty."""
        return int(self._here()[1].penalised.argmax())

    def _here(self) -> tuple[Position, Stages]:
        if self.position is None or self.stages is None:
            raise PhiError("there is no step to go on from: ask the prompt first")
        return self.position, self.stages

    def _ids(self, at: int) -> tuple[int, ...]:
        return tuple(token.id for token in self.path[: max(0, at)])
