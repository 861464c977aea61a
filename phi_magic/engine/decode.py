"""The decode loop: one token after another, and the text they make."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence

from ..interrupt import Stop
from ..reply import Alternative, Token
from .context import Context
from .model import Model
from .sampler import Chance, Sampler


def tokens(
    model: Model,
    context: Context,
    sampler: Sampler,
    *,
    limit: int,
    stop: Stop,
    begin: Sequence[int] = (),
    top_logprobs: int = 0,
) -> Iterator[tuple[Token, bytes]]:
    """Generate after what the context holds: each token with its bytes, until the model ends its answer.

    At most ``limit`` tokens, the first of which are ``begin``. A token is evaluated only when another one is wanted.

    Raises:
        Interrupted: ``stop`` was set.
    """

    def alternative(chance: Chance) -> Alternative:
        return Alternative(chance.token, model.name(chance.token), chance.logprob, chance.probability)

    for count in range(limit):
        forced = begin[count] if count < len(begin) else None
        draw = sampler.draw(context.logits, forced=forced, top=top_logprobs)
        if model.ends(draw.token):
            return
        top = tuple(map(alternative, draw.top))
        name = model.name(draw.token)
        yield Token(draw.token, name, draw.logprob, draw.probability, draw.rank, top), model.piece(draw.token)
        if count + 1 < limit:
            context.append(draw.token, stop=stop)


class Text:
    """Bytes in, text out: no character torn, nothing of a stop string shown.

    What could be the beginning of a stop string waits until it is clear that it is not.
    """

    def __init__(self, stop_strings: Sequence[str] = (), *, skip_space: bool = False) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop_strings = [text for text in stop_strings if text]
        self._skip_space = skip_space
        self._waiting = ""
        self.stopped = False

    def feed(self, data: bytes, *, last: bool = False) -> str:
        """Text that is certain now. After a stop string was met, :attr:`stopped` is true and nothing more comes."""
        if self.stopped:
            return ""
        new = self._decoder.decode(data, last)
        if self._skip_space and new:  # SentencePiece writes a space before the first word of all
            new = new.removeprefix(" ")
            self._skip_space = False
        self._waiting += new
        met = [at for at in (self._waiting.find(text) for text in self._stop_strings) if at >= 0]
        if met:
            self.stopped = True
            certain, self._waiting = self._waiting[: min(met)], ""
            return certain
        hold = 0 if last else self._possible_start()
        certain, self._waiting = self._waiting[: len(self._waiting) - hold], self._waiting[len(self._waiting) - hold :]
        return certain

    def _possible_start(self) -> int:
        """Length of the longest end of the text that begins a stop string."""
        longest = max(map(len, self._stop_strings), default=1) - 1
        for length in range(min(longest, len(self._waiting)), 0, -1):
            end = self._waiting[-length:]
            if any(text.startswith(end) for text in self._stop_strings):
                return length
        return 0
