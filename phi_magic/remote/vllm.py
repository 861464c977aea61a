"""Given texts evaluated by vLLM, which returns the log-probability of each token of a prompt.

One request evaluates a whole text. Control tokens that a message spells are honoured: vLLM renders the messages itself.
Source: https://docs.vllm.ai, ``vllm/entrypoints/serve/tokenize`` and ``vllm/entrypoints/openai/completion``, version 0.16.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

import msgspec

from ..errors import PhiError
from ..generation.backend import Event, Finished, Step
from ..generation.request import GenerationRequest
from ..reply import Alternative, Token
from .address import Address
from .client import Client
from .given import distinct, drawn, started
from .native import TokenIds
from .servers import Server

#: What vLLM sends for minus infinity, which JSON does not have. Source: ``clamp_prompt_logprobs`` beside its servings.
_LEAST = -9999.0


class _GivenText(msgspec.Struct):
    prompt: str


class _PromptToken(msgspec.Struct):
    logprob: float | None
    rank: int | None = None
    decoded_token: str | None = None

    @property
    def logprob_or_least(self) -> float:
        return -math.inf if self.logprob is None or self.logprob <= _LEAST else self.logprob


class _EvaluatedChoice(msgspec.Struct):
    prompt_logprobs: list[dict[int, _PromptToken] | None]


class _Evaluated(msgspec.Struct):
    choices: Annotated[list[_EvaluatedChoice], msgspec.Meta(min_length=1)]


class Evaluation:
    """A request's prompt at a vLLM, and answers that are evaluated after it."""

    def __init__(
        self, client: Client, address: Address, server: Server, model: str, request: GenerationRequest
    ) -> None:
        self._client = client
        self._address = address
        self._server = server
        self._model = model
        self._request = request
        self._messages = [message.to_dict() for message in request.messages]

    async def score(self, index: int) -> AsyncIterator[Event]:
        """Give the tokens of ``request.given`` the records that an answer's have.

        Raises:
            PhiError: there is no text, or the chat template changes it.
        """
        asked = time.perf_counter()
        given = self._request.given or ""
        prompt = await self._prompt()
        whole = await self._with(given, prompt)
        if len(whole) == len(prompt):
            raise PhiError("there is nothing to evaluate: the text is empty")
        if not self._request.raw:
            await self._nothing_before(given, whole[len(prompt) :])
        records = await self._records(whole, len(prompt))
        yield started(self._request, self._server, self._model, len(prompt), asked, index)
        for at, record in enumerate(records):
            yield Step(index, record, "" if at else given, time.perf_counter())
        yield Finished(index, "stop", at=time.perf_counter())

    async def choose(self, index: int) -> AsyncIterator[Event]:
        """Compute the probability of each choice as the whole answer, and draw one as a token is drawn.

        The end of the turn is the token that the chat template writes after an answer.

        Raises:
            PhiError: a choice has no tokens, two have the same, or the chat template changes one or writes no end.
        """
        asked = time.perf_counter()
        request = self._request
        prompt = await self._prompt()
        wholes = [await self._with(choice, prompt) for choice in request.choices]
        distinct([whole[len(prompt) :] for whole in wholes])
        yield started(request, self._server, self._model, len(prompt), asked, index)
        records = [
            await self._records([*whole, await self._end(choice, whole)], len(prompt))
            for choice, whole in zip(request.choices, wholes, strict=True)
        ]
        scores = [sum(record.logprob for record in answer) for answer in records]
        if not math.isfinite(max(scores)):
            raise PhiError("the server gives no choice a probability above 0")
        chosen, chances = drawn(request, scores)
        for at, record in enumerate(records[chosen][:-1]):
            yield Step(index, record, "" if at else request.choices[chosen], time.perf_counter())
        yield Finished(index, "stop", at=time.perf_counter(), choices=chances)

    async def _prompt(self) -> list[int]:
        if self._request.raw:
            return await self._tokens(prompt=self._text)
        return await self._tokens(messages=self._messages, add_generation_prompt=True)

    async def _with(self, answer: str, prompt: Sequence[int]) -> list[int]:
        """The tokens of the prompt and an answer after it."""
        if self._request.raw:
            whole = await self._tokens(prompt=self._text + answer)
        else:
            whole = await self._answered(answer, continue_final_message=True)
        if whole[: len(prompt)] != list(prompt):
            raise PhiError(
                "the model reads this text as a part of the prompt, or its chat template changes it: another?"
            )
        return whole

    async def _nothing_before(self, answer: str, tokens: Sequence[int]) -> None:
        """Check that an answer's tokens are its own, for some templates write an empty thought before an answer."""
        body = {"model": self._model, "tokens": tokens}
        written = (await self._client.post(f"{self._address.root}/detokenize", body, _GivenText)).prompt.strip()
        before = written[: -len(answer.strip())].strip() if answer.strip() else ""
        if before and written.endswith(answer.strip()):
            raise PhiError(
                f"the chat template writes {before!r} before an answer, which is no part of the text: evaluate it after "
                "the whole prompt, with --raw"
            )

    async def _end(self, answer: str, whole: Sequence[int]) -> int:
        """The token that ends the turn after an answer."""
        ended = await self._answered(answer)
        if len(ended) <= len(whole) or ended[: len(whole)] != list(whole):
            raise PhiError("the chat template writes no end after an answer, or changes the answer")
        return ended[len(whole)]

    async def _answered(self, answer: str, **how: bool) -> list[int]:
        messages = [*self._messages, {"role": "assistant", "content": answer}]
        return await self._tokens(messages=messages, add_generation_prompt=False, **how)

    async def _tokens(self, **body: Any) -> list[int]:
        body = {"model": self._model, **body}
        return (await self._client.post(f"{self._address.root}/tokenize", body, TokenIds)).tokens

    @property
    def _text(self) -> str:
        return "".join(message["content"] for message in self._messages)

    async def _records(self, tokens: Sequence[int], first: int) -> list[Token]:
        """The records of the tokens from the place ``first`` on."""
        top = self._request.top_logprobs
        body = {"model": self._model, "prompt": tokens, "max_tokens": 1, "temperature": 0, "prompt_logprobs": top}
        said = await self._client.post(f"{self._address.base}/completions", body, _Evaluated)
        told = said.choices[0].prompt_logprobs
        records = [
            _record(token, likely, top)
            for token, likely in zip(tokens[first:], told[first:], strict=False)
            if likely and token in likely
        ]
        if len(told) != len(tokens) or len(records) != len(tokens) - first:
            raise PhiError(f"{self._address.base}: the server does not tell how likely the tokens of a prompt are")
        return records


def _record(token: int, likely: dict[int, _PromptToken], top: int) -> Token:
    others = sorted(likely.items(), key=lambda one: -one[1].logprob_or_least)[:top]
    alternatives = tuple(Alternative(one, _name(one, told), told.logprob_or_least, math.nan) for one, told in others)
    itself = likely[token]
    better = sum(told.logprob_or_least > itself.logprob_or_least for told in likely.values())
    return Token(
        token, _name(token, itself), itself.logprob_or_least, math.nan, itself.rank or 1 + better, alternatives
    )


def _name(token: int, told: _PromptToken) -> str:
    return f"[{token}]" if told.decoded_token is None else told.decoded_token
