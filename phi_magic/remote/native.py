"""What llama-server alone offers: its chat template and its tokenizer apart, and the log-probabilities of all tokens."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from ..errors import PhiError
from ..generation.backend import TokenText
from ..generation.request import GenerationRequest
from ..position import Position
from ..prompt.rendering import shielded, unused_character
from ..reply import Alternative, Message, Token
from .address import Address
from .answers import Byte
from .client import Client
from .said import Said

#: Tokens of which a position has the log-probability; those that are less likely are cut from it.
MOST = 20_000
_FEW = 50  # of the likeliest tokens, asked for first: a text that makes sense is made of them
_MOST_TOGETHER = 1 << 20  # characters of the messages that are looked at together
_ALL = 1 << 22  # more tokens than any vocabulary has

#: The texts of the tokens at which llama.cpp ends an answer. Source: ``special_eog_ids`` in ``llama-vocab.cpp``, b10016.
ENDS = (
    *("<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>"),
    *("<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<eos>"),
    *("<end_of_utterance>", "<turn|>", "<|tool_response>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "[e~["),
)


class _Piece(msgspec.Struct):
    id: int
    piece: str | list[Byte]

    @property
    def data(self) -> bytes:
        return self.piece.encode() if isinstance(self.piece, str) else bytes(self.piece)


class _Pieces(msgspec.Struct):
    tokens: list[_Piece]


class TokenIds(msgspec.Struct):
    tokens: list[int]


class Likely(msgspec.Struct):
    id: int
    token: str
    bytes: list[Byte]
    logprob: float | None  # none is the least that there is

    @property
    def name(self) -> str:
        return bytes(self.bytes).decode("utf-8", "backslashreplace") or self.token

    @property
    def logprob_or_least(self) -> float:
        return -math.inf if self.logprob is None else self.logprob


class _Probabilities(msgspec.Struct):
    top_logprobs: list[Likely]


class _Looked(msgspec.Struct):
    completion_probabilities: Annotated[list[_Probabilities], msgspec.Meta(min_length=1)]


class _Detokenized(msgspec.Struct):
    content: str


class _RenderedPrompt(msgspec.Struct):
    prompt: str


class Native:
    """The own paths of a llama-server."""

    def __init__(self, client: Client, address: Address, model: str) -> None:
        self._client = client
        self._root = address.root
        self._model = model

    async def prompt(self, request: GenerationRequest) -> list[int]:
        """The prompt as token ids, in which no control token comes from the text of a message."""
        return await self._read(await self._parts(request))

    async def spells(self, requests: Sequence[GenerationRequest]) -> bool:
        """Whether a message of these requests may spell a control token. Many requests cost as little as one."""
        text = "\n".join(message.content for request in requests for message in request.messages)
        return len(text) > _MOST_TOGETHER or await self._differs(text)

    async def prompt_and(self, request: GenerationRequest, answers: Sequence[str]) -> tuple[list[int], list[list[int]]]:
        """The prompt as token ids, and answers as they are written after it; no special token is honoured in them."""
        parts = await self._parts(request)
        prompt = await self._read(parts)
        found = []
        for answer in answers:
            shield = unused_character([answer])
            [safe], _ = shielded([{"role": "assistant", "content": answer}], await self._controls(answer), shield)
            head, *rest = safe["content"].split(shield)
            whole = await self._read([*parts[:-1], parts[-1] + head, *rest])
            follows = whole[: len(prompt)] == prompt  # else the prompt's last token goes on into the answer
            found.append(whole[len(prompt) :] if follows else [one.id for one in await self._within(answer)])
        return prompt, found

    async def _parts(self, request: GenerationRequest) -> list[str]:
        """The text that the model reads, cut where a message would spell a control token."""
        messages = [message.to_dict() for message in request.messages]
        if request.raw:
            return ["".join(message["content"] for message in messages)]
        text = "\n".join(message["content"] for message in messages)
        shield = unused_character([text])
        safe, _ = shielded(messages, await self._controls(text), shield)
        return (await self._template(safe)).split(shield)

    async def _read(self, parts: Sequence[str]) -> list[int]:
        """The token ids of a text that is cut in parts."""
        first, *rest = parts
        pieces = await self._pieces(first, add_special=True, parse_special=True)
        for part in rest:
            pieces += await self._within(part, parse_special=True)
        return [one.id for one in pieces]

    async def tokenize(self, text: str) -> list[TokenText]:
        """Cut a text into tokens; no special token is honoured in it."""
        pieces = await self._within(text)
        return [TokenText(one.id, one.data.decode("utf-8", "backslashreplace"), one.data) for one in pieces]

    async def text(self, tokens: Sequence[int]) -> str:
        """The text that tokens stand for."""
        return (await self._post("detokenize", {"tokens": list(tokens)}, _Detokenized)).content

    async def record(self, before: Sequence[int], token: int, top: int) -> Token:
        """The record of a token that stands after others.

        Args:
            before: the prompt's tokens, and those of the answer.
            top: how many of the likeliest tokens it returns.

        Raises:
            PhiError: there is no such token.
        """
        for most in (max(_FEW, top), _ALL):
            likely = await self.likeliest(before, most)
            for rank, one in enumerate(likely, 1):
                if one.id == token:
                    others = [Alternative(other.id, other.name, other.logprob_or_least, math.nan) for other in likely]
                    return Token(token, one.name, one.logprob_or_least, math.nan, rank, tuple(others[:top]))
        raise PhiError(f"{self._root}: the server has no token {token}")

    async def ends(self) -> frozenset[int]:
        """The ids of the tokens that end an answer, as their texts tell."""
        pieces = await self._pieces("\n".join(ENDS), parse_special=True)
        return frozenset(one.id for one in pieces if one.data.decode("utf-8", "replace") in ENDS)

    async def look(self, request: GenerationRequest, vocabulary: int) -> Position:
        """Return the log-probabilities after the prompt and ``request.begin``, as logits."""
        import numpy as np

        prompt, ends = await asyncio.gather(self.prompt(request), self.ends())
        logits = np.full(vocabulary, -np.inf, dtype=np.float32)
        names = [""] * vocabulary
        likely = await self.likeliest([*prompt, *request.begin], MOST)
        for token in likely:
            if not 0 <= token.id < vocabulary:
                raise PhiError(f"{self._root}: the server has {vocabulary:,} tokens, and tells of token {token.id}")
            logits[token.id] = token.logprob_or_least
            names[token.id] = token.name
        return Position(request.begin, logits, names, ends, told=len(likely) if len(likely) < vocabulary else None)

    async def likeliest(self, tokens: Sequence[int], most: int) -> list[Likely]:
        """The likeliest tokens after others, the likeliest first."""
        body = {"prompt": list(tokens), "n_predict": 1, "n_probs": most, "temperature": 0, "repeat_penalty": 1}
        said = await self._post("completion", body, _Looked)
        return said.completion_probabilities[0].top_logprobs

    async def _controls(self, text: str) -> list[str]:
        """The texts of the control tokens that a text spells."""
        if not await self._differs(text):
            return []
        plain, special = await asyncio.gather(self._pieces(text), self._pieces(text, parse_special=True))
        known = {one.id for one in plain}
        suspects = {one.data.decode("utf-8", "replace") for one in special if one.id not in known}
        return [suspect for suspect in suspects if len(await self._pieces(suspect)) != 1]

    async def _differs(self, text: str) -> bool:
        """Whether a text has other tokens where special tokens are honoured in it."""
        plain, special = await asyncio.gather(self._ids(text), self._ids(text, parse_special=True))
        return plain != special

    async def _ids(self, text: str, *, parse_special: bool = False) -> list[int]:
        body = {"content": text, "parse_special": parse_special}
        return (await self._post("tokenize", body, TokenIds)).tokens

    async def _template(self, messages: Sequence[Message]) -> str:
        return (await self._post("apply-template", {"messages": messages}, _RenderedPrompt)).prompt

    async def _within(self, text: str, *, parse_special: bool = False) -> list[_Piece]:
        # the line break takes the space that some tokenizers put before a text
        head, whole = await asyncio.gather(self._pieces("\n"), self._pieces("\n" + text, parse_special=parse_special))
        return whole[len(head) :]

    async def _pieces(self, text: str, *, parse_special: bool = False, add_special: bool = False) -> list[_Piece]:
        body = {"content": text, "with_pieces": True, "parse_special": parse_special, "add_special": add_special}
        return (await self._post("tokenize", body, _Pieces)).tokens

    async def _post(self, path: str, body: dict[str, Any], kind: type[Said]) -> Said:
        # a llama-server that has several models passes a request on to the one that it names
        return await self._client.post(f"{self._root}/{path}", {"model": self._model, **body}, kind)
