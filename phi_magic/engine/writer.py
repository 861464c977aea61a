"""From logits to text: one token after another, and the characters they make."""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..generation.backend import Finished, Step
from ..generation.request import GenerationRequest
from ..generation.thoughts import Thoughts
from ..reply import Alternative, FinishReason, Token
from .grammar import Grammar
from .model import Model
from .sampler import Chance, Sampler
from .thinking import Thinking, without_marks

Clock: TypeAlias = Callable[[], float]


class Writer:
    """Turns logits into an answer, step by step: draws a token and finds the text that it makes certain.

    The loop around it evaluates :attr:`token` to get the logits for the next step, until :attr:`finish_reason` is set.
    It is the same for the writer whether its answer is decoded singly or together with others. Freed with
    :meth:`close`.

    Args:
        model: whose vocabulary the tokens are of.
        request: what is asked.
        limit: the most tokens, thoughts included; the first ones are ``request.begin``, of which the first may be :meth:`repeat`-ed.
        thinking: how the answer may begin with thoughts; None where it cannot.
        index: which request it is, for the events.
        clock: for the times of the steps.

    Raises:
        PhiError: the request's schema cannot be followed.
    """

    def __init__(
        self,
        model: Model,
        request: GenerationRequest,
        *,
        limit: int,
        thinking: Thinking | None = None,
        index: int = 0,
        clock: Clock = time.perf_counter,
    ) -> None:
        self._model = model
        self._request = request
        self._limit = limit
        self._index = index
        self._clock = clock
        self._thinking = thinking
        thoughts = Thoughts(thinking.tags, begun=thinking.begun) if thinking else None
        self._grammar = Grammar(model, request.schema, thinking=thinking) if request.schema is not None else None
        self._text = Text(request.stop, skip_space=not request.raw, thoughts=thoughts)
        room = limit - request.max_tokens - len(thinking.closing if thinking else ())
        self._most_thoughts = min(request.max_reasoning, max(room, limit // 2))
        self._thought = 0  # tokens up to the end of the thoughts
        self._sampler = Sampler(request.sampling, request.seed, model.n_vocab)
        self._count = 0
        self._closing = self._closing_after()
        self.token = -1
        self.finish_reason: FinishReason | None = None

    @property
    def thinking(self) -> bool:
        """Whether the next token is one of the thoughts, as far as is known."""
        return self._text.thinking

    @property
    def undecided(self) -> bool:
        """Whether the answer may still begin with thoughts."""
        return self._text.undecided

    def step(self, logits: NDArray[np.float32]) -> Step | None:
        """Draw the next token from its logits, shape ``(n_vocab,)``; None where the drawn token ends the answer."""
        draw = self._sampler.draw(
            logits,
            forced=self._forced(),
            top=self._request.top_logprobs,
            allowed=self._grammar.allowed() if self._grammar else None,
        )
        if self._model.ends(draw.token):
            self.finish_reason = "stop"
            return None
        top = tuple(self._alternative(chance) for chance in draw.top)
        token = Token(draw.token, self._model.name(draw.token), draw.logprob, draw.probability, draw.rank, top)
        return self._write(token, drawn=True)

    def _forced(self) -> int | None:
        """The token that comes next whatever would be drawn: of a given beginning, or of the tag that ends long thoughts."""
        begin = self._request.begin
        if self._count < len(begin):
            return begin[self._count]
        return self._closing[0] if self._closing else None

    def _closing_after(self) -> Sequence[int]:
        """The tokens of the closing tag that are still to be written: all of it where the thoughts have become too long,
        and the rest of it once it is begun. It depends on the tokens so far alone, drawn or given.
        """
        if self._count and self._closing[:1] == [self.token]:
            return self._closing[1:]
        too_long = self._text.thinking and self._count >= self._most_thoughts and not self._text.torn
        return list(self._thinking.closing) if self._thinking and too_long else []

    def repeat(self, token: Token) -> Step:
        """Write a token with its record from another answer to the same question; no logits are needed. Its random
        number is skipped, so the next tokens are drawn as they would be after :meth:`step`.
        """
        self._sampler.skip(token.id)
        return self._write(token, drawn=False)

    def _write(self, token: Token, *, drawn: bool) -> Step:
        if self._grammar:
            self._grammar.accept(token.id)
        self.token = token.id
        self._count += 1
        thought_before = self._text.thinking
        mark = self._thinking.marks.get(token.id, "") if self._thinking else ""
        text = self._text.feed(self._model.piece(token.id), mark)
        if thought_before or self._text.thinking:
            self._thought = self._count
        self._closing = self._closing_after()
        if self._text.stopped or (self._grammar and self._grammar.complete):
            self.finish_reason = "stop"
        elif self._count == self._limit or (
            self._count - self._thought == self._request.max_tokens and not self._text.undecided
        ):
            self.finish_reason = "length"
        elif self._count == self._request.ends_after:
            self.finish_reason = "interrupted"
        return Step(self._index, token, text, self._clock(), drawn, self._text.thought, self._thought)

    def finish(self) -> Finished:
        """Return the last event of the answer, with the text that had been waiting to become certain."""
        rest = self._text.feed(b"", last=True)
        return Finished(
            self._index, self.finish_reason or "interrupted", rest, reasoning=self._text.thought, at=self._clock()
        )

    def close(self) -> None:
        """Free the sampler."""
        self._sampler.close()

    def _alternative(self, chance: Chance) -> Alternative:
        return Alternative(chance.token, self._model.name(chance.token), chance.logprob, chance.probability)


class Text:
    """Turns bytes into text without incomplete characters and without any part of a stop string. Text that could begin
    a stop string waits until it is clear that it does not.
    """

    def __init__(
        self, stop_strings: Sequence[str] = (), *, skip_space: bool = False, thoughts: Thoughts | None = None
    ) -> None:
        self._thoughts = thoughts
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop_strings = [text for text in stop_strings if text]
        self._skip_space = skip_space
        self._waiting = ""
        self.thought = ""
        self.stopped = False

    @property
    def thinking(self) -> bool:
        """Whether what comes next is thought, as far as is known."""
        return self._thoughts is not None and self._thoughts.thinking

    @property
    def torn(self) -> bool:
        """Whether the last character is incomplete."""
        return bool(self._decoder.getstate()[0])

    @property
    def undecided(self) -> bool:
        """Whether the answer may still begin with thoughts."""
        return self._thoughts is not None and self._thoughts.undecided

    def feed(self, data: bytes, mark: str = "", *, last: bool = False) -> str:
        """Text that is certain now; :attr:`thought` has the thoughts that are. After a stop string was met,
        :attr:`stopped` is true and nothing more comes.

        Args:
            data: what a token stands for.
            mark: the mark of a token that is one of the tags around thoughts; see :mod:`.thinking`.
            last: whether nothing follows.
        """
        self.thought = ""
        if self.stopped:
            return ""
        new = self._decoder.decode(data, last or bool(mark)) + mark
        if self._skip_space and new:  # SentencePiece writes a space before the first word of all
            new = new.removeprefix(" ")
            self._skip_space = False
        if self._thoughts:
            self.thought, new = map(without_marks, self._thoughts.split(new, last=last))
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
