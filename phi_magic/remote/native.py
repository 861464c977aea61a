"""What llama-server alone offers: its chat template and its tokenizer apart, and the log-probabilities of all tokens."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from ..errors import PhiError
from ..generation.backend import Step, TokenText
from ..generation.position import Position
from ..generation.request import GenerationRequest
from ..prompt.rendering import shielded, unused_character
from ..reply import Alternative, Message, Token
from .address import Address
from .client import Client
from .servers import Server

#: Tokens of which a position has the log-probability; those that are less likely are cut from it.
MOST = 20_000


class _Piece(msgspec.Struct):
    id: int
    piece: str | list[int]

    @property
    def data(self) -> bytes:
        return self.piece.encode() if isinstance(self.piece, str) else bytes(self.piece)


class _Pieces(msgspec.Struct):
    tokens: list[_Piece]


class _Likely(msgspec.Struct):
    id: int
    token: str
    bytes: list[int]
    logprob: float

    @property
    def name(self) -> str:
        return bytes(self.bytes).decode("utf-8", "backslashreplace") or self.token


class _Probabilities(msgspec.Struct):
    top_logprobs: list[_Likely]


class _Looked(msgspec.Struct):
    completion_probabilities: list[_Probabilities]


class Native:
    """The own paths of a llama-server."""

    def __init__(self, client: Client, address: Address, server: Server) -> None:
        self._client = client
        self._root = address.root
        self._server = server

    async def prompt(self, request: GenerationRequest, *, always: bool = False) -> list[int] | None:
        """The prompt as token ids, in which no control token comes from the text of a message.

        Args:
            request: what is asked.
            always: even where no message spells a control token, and the server can read the messages as they are.
        """
        messages = [message.to_dict() for message in request.messages]
        if request.raw:
            return await self._ids(
                "".join(message["content"] for message in messages), add_special=True, parse_special=True
            )
        text = "\n".join(message["content"] for message in messages)
        controls = await self._controls(text)
        if not controls and not always:
            return None
        shield = unused_character([text])
        safe, _ = shielded(messages, controls, shield)
        first, *rest = (await self._template(safe)).split(shield)
        ids = await self._ids(first, add_special=True, parse_special=True)
        for part in rest:
            # the line break takes the space that some tokenizers put before a text
            ids += (await self._ids("\n" + part, parse_special=True))[len(await self._ids("\n")) :]
        return ids

    async def tokenize(self, text: str) -> list[TokenText]:
        """Cut a text into tokens; no special token is honoured in it."""
        # the line break takes the space that some tokenizers put before a text
        pieces = (await self._pieces("\n" + text))[len(await self._pieces("\n")) :]
        return [TokenText(one.id, one.data.decode("utf-8", "backslashreplace"), one.data) for one in pieces]

    async def begun(self, request: GenerationRequest, prompt: Sequence[int]) -> list[Step]:
        """The steps of the tokens that an answer begins with: those that are known, and the records of the others."""
        known = list(request.known)
        steps = [Step(token=token, drawn=False) for token in known]
        for at in range(len(known), len(request.begin)):
            top = await self._likeliest([*prompt, *request.begin[:at]])
            ids = [one.id for one in top]
            rank = ids.index(request.begin[at]) if request.begin[at] in ids else None
            alternatives = [Alternative(one.id, one.name, one.logprob, math.nan) for one in top[: request.top_logprobs]]
            if rank is None:
                raise PhiError(f"{self._root}: the server has no token {request.begin[at]}, or it cannot stand there")
            chosen = top[rank]
            token = Token(chosen.id, chosen.name, chosen.logprob, math.nan, rank + 1, tuple(alternatives))
            steps.append(Step(token=token, at=time.perf_counter()))
        if steps:
            said = await self._client.post(f"{self._root}/detokenize", {"tokens": list(request.begin)})
            text = str(said["content"])
            steps[-1] = msgspec.structs.replace(steps[-1], text=text if request.raw else text.removeprefix(" "))
        return steps

    async def look(self, request: GenerationRequest, vocabulary: int) -> Position:
        """Return the log-probabilities after the prompt and ``request.begin``, as logits."""
        import numpy as np

        prompt = await self.prompt(request, always=True) or []
        logits = np.full(vocabulary, -np.inf, dtype=np.float32)
        names = [""] * vocabulary
        for token in await self._likeliest([*prompt, *request.begin]):
            logits[token.id] = token.logprob
            names[token.id] = token.name
        end = self._server.properties.get("eos_token")
        return Position(
            request.begin, logits, names, frozenset(at for at, name in enumerate(names) if end and name == end)
        )

    async def _likeliest(self, tokens: Sequence[int]) -> list[_Likely]:
        """The likeliest tokens after others, the likeliest first."""
        body = {"prompt": list(tokens), "n_predict": 1, "n_probs": MOST, "temperature": 0, "repeat_penalty": 1}
        said: Any = await self._client.post(f"{self._root}/completion", body)
        try:
            return msgspec.convert(said, _Looked).completion_probabilities[0].top_logprobs
        except (msgspec.ValidationError, IndexError) as error:
            raise PhiError(f"{self._root}: /completion gives no log-probabilities ({error})") from None

    async def _controls(self, text: str) -> list[str]:
        """The texts of the control tokens that a text spells."""
        plain = await self._pieces(text)
        special = await self._pieces(text, parse_special=True)
        if special == plain:
            return []
        known = {one.id for one in plain}
        suspects = {one.data.decode("utf-8", "replace") for one in special if one.id not in known}
        return [suspect for suspect in suspects if len(await self._pieces(suspect)) != 1]

    async def _template(self, messages: Sequence[Message]) -> str:
        said = await self._client.post(f"{self._root}/apply-template", {"messages": messages})
        if not (isinstance(said, dict) and isinstance(said.get("prompt"), str)):
            raise PhiError(f"{self._root}: the server does not say what its chat template writes")
        return str(said["prompt"])

    async def _pieces(self, text: str, *, parse_special: bool = False, add_special: bool = False) -> list[_Piece]:
        body = {"content": text, "with_pieces": True, "parse_special": parse_special, "add_special": add_special}
        said: Any = await self._client.post(f"{self._root}/tokenize", body)
        try:
            return msgspec.convert(said, _Pieces).tokens
        except msgspec.ValidationError as error:
            raise PhiError(f"{self._root}: /tokenize gives no tokens ({error})") from None

    async def _ids(self, text: str, *, parse_special: bool = False, add_special: bool = False) -> list[int]:
        return [one.id for one in await self._pieces(text, parse_special=parse_special, add_special=add_special)]
