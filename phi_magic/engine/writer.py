"""From logits to text: one token after another, and the characters they make."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..reply import Alternative, FinishReason, Reply, Token
from ..sampling import Sampling
from .grammar import Grammar
from .model import Model
from .sampler import Chance, Draw, Sampler


class Writer:
    """Makes of logits, step by step, a reply: draws a token, records it, finds the text that is certain by it.

    The loop around it evaluates :attr:`token` to get the logits for the next step, until :attr:`finished`; singly or
    together with other answers, it is the same to the writer. Freed with :meth:`close`.

    Args:
        reply: filled in as it goes: text, tokens, counts, timings, and at the end ``finish_reason``.
        limit: the most tokens; the first ones are ``begin``, of which the first may be :meth:`repeat`-ed instead.
        asked: when the question was asked, by ``clock``.
        grammar: what the text is held to.
    """

    def __init__(
        self,
        model: Model,
        reply: Reply,
        knobs: Sampling,
        *,
        limit: int,
        asked: float,
        clock: Callable[[], float],
        stop_strings: Sequence[str] = (),
        skip_space: bool = True,
        begin: Sequence[int] = (),
        top_logprobs: int = 0,
        grammar: Grammar | None = None,
    ) -> None:
        self._model = model
        self._reply = reply
        self._sampler = Sampler(knobs, reply.seed, model.n_vocab)
        self._text = Text(stop_strings, skip_space=skip_space)
        self._limit = limit
        self._begin = begin
        self._top = top_logprobs
        self._grammar = grammar
        self._asked = asked
        self._clock = clock
        self._first = asked
        self._repeated = 0
        self.token = -1
        self.finished = False

    def step(self, logits: NDArray[np.float32]) -> str:
        """Draw the next token from its logits, shape ``(n_vocab,)``; what it adds to the text, often nothing."""
        count = len(self._reply.tokens)
        forced = self._begin[count] if count < len(self._begin) else None
        allowed = self._grammar.allowed() if self._grammar else None
        draw = self._sampler.draw(logits, forced=forced, top=self._top, allowed=allowed)
        if self._model.ends(draw.token):
            return self._finish("stop")
        self._time()
        return self._write(self._recorded(draw))

    def repeat(self, token: Token) -> str:
        """Write a token with the record that another answer to the same question has of it; no logits are needed.

        The draw for it is passed over, so that what follows is drawn as it would have been after :meth:`step`.
        """
        self._sampler.skip(token.id)
        self._repeated += 1
        return self._write(token)

    def _write(self, token: Token) -> str:
        if self._grammar:
            self._grammar.accept(token.id)
        self.token = token.id
        self._reply.tokens.append(token)
        self._reply.usage.completion_tokens += 1
        piece = self._text.feed(self._model.piece(token.id))
        self._reply.text += piece
        if self._text.stopped or (self._grammar and self._grammar.complete):
            return piece + self._finish("stop")
        return piece + self._finish("length") if len(self._reply.tokens) == self._limit else piece

    def close(self) -> None:
        """Free the sampler. What waited to be certain is text after all."""
        self._sampler.close()
        self._flush()

    def _time(self) -> None:
        timings, drawn, now = self._reply.timings, len(self._reply.tokens) - self._repeated, self._clock()
        if not drawn:
            self._first = now
            timings.first_token = now - self._asked
        elif now > self._first:
            timings.tokens_per_second = drawn / (now - self._first)

    def _recorded(self, draw: Draw) -> Token:
        top = tuple(self._alternative(chance) for chance in draw.top)
        return Token(draw.token, self._model.name(draw.token), draw.logprob, draw.probability, draw.rank, top)

    def _alternative(self, chance: Chance) -> Alternative:
        return Alternative(chance.token, self._model.name(chance.token), chance.logprob, chance.probability)

    def _finish(self, reason: FinishReason) -> str:
        self.finished = True
        self._reply.finish_reason = reason
        return self._flush()

    def _flush(self) -> str:
        rest = self._text.feed(b"", last=True)
        self._reply.text += rest
        return rest


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
