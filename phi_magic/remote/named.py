"""Positions of servers that name tokens by their texts: the likeliest ones of an answer of one token."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace

from ..errors import PhiError
from ..generation.backend import Step
from ..generation.request import GenerationRequest
from ..parameters import SamplingParameters
from ..position import Position
from .answers import events
from .client import Client
from .native import ENDS
from .servers import Server

_MOST = 20  # tokens that OpenAI's interface returns at a step
_AS_IT_IS = SamplingParameters(temperature=1, top_p=1, repeat_penalty=1, repeat_last_n=0)


async def look(
    client: Client, server: Server, model: str, request: GenerationRequest, before: Position | None
) -> Position:
    """Return the log-probabilities of the likeliest tokens after the prompt and ``request.begin``, as logits.

    A token's id is its place among the names, which grow from position to position.

    Args:
        before: an earlier position, whose names are taken over.

    Raises:
        PhiError: the server gives no log-probabilities, or cannot go on from the beginning of an answer.
    """
    import numpy as np

    names = list(before.names) if before else []
    if not all(0 <= token < len(names) for token in request.begin):
        raise PhiError(f"{server.dialect.name} takes no token ids: begin at the first step")
    begun = "".join(names[token] for token in request.begin)
    asked = replace(request, sampling=_AS_IT_IS, begin=(), known=(), schema=None, max_tokens=1, top_logprobs=_MOST)
    server.check(asked)
    path, body = server.dialect.request(asked, model, begun)
    likely: dict[str, float] = {}
    async with aclosing(client.stream(client.base + path, body, tokens=1)) as pieces:
        async for event in events(pieces, asked, server, model, base=client.base, index=0):
            if isinstance(event, Step) and event.token and not likely:
                likely = {one.text: one.logprob for one in (event.token, *event.token.top)}
    if not likely:
        raise PhiError(f"{server.dialect.name} gave no log-probabilities")
    names += [name for name in likely if name not in names]
    logits = np.array([likely.get(name, -np.inf) for name in names], dtype=np.float32)
    ends = frozenset(at for at, name in enumerate(names) if name in ENDS)
    return Position(request.begin, logits, names, ends, told=len(likely))
