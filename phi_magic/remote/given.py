"""What is evaluated instead of written: the beginning of an answer, a whole answer that is given, and choices.

A server returns the likeliest tokens after a text. So each token of the given text takes a separate request; what the
server has read of the text stays in its KV cache.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Sequence

import msgspec

from ..errors import PhiError
from ..generation.backend import Event, Finished, Started, Step
from ..generation.request import GenerationRequest
from .native import MOST, Likely, Native
from .servers import Server


async def begun(native: Native, request: GenerationRequest, prompt: Sequence[int]) -> list[Step]:
    """The steps of the tokens that an answer begins with: those that are known, and the records of the others."""
    known = list(request.known)
    steps = [Step(token=token, drawn=False) for token in known]
    for at in range(len(known), len(request.begin)):
        before = [*prompt, *request.begin[:at]]
        token = await native.record(before, request.begin[at], request.top_logprobs)
        steps.append(Step(token=token, at=time.perf_counter()))
    text = await native.text(request.begin)
    steps[-1] = msgspec.structs.replace(steps[-1], text=text if request.raw else text.removeprefix(" "))
    return steps


async def score(
    native: Native, request: GenerationRequest, server: Server, model: str, *, index: int
) -> AsyncIterator[Event]:
    """Give the tokens of ``request.given`` the records that an answer's have.

    Raises:
        PhiError: there is no text.
    """
    asked = time.perf_counter()
    prompt, [given] = await native.prompt_and(request, [request.given or ""])
    if not given:
        raise PhiError("there is nothing to evaluate: the text is empty")
    yield started(request, server, model, len(prompt), asked, index)
    for at, token in enumerate(given):
        record = await native.record([*prompt, *given[:at]], token, request.top_logprobs)
        text = "" if at else request.given or ""
        yield Step(index, record, text, time.perf_counter())
    yield Finished(index, "stop", at=time.perf_counter())


async def choose(
    native: Native, request: GenerationRequest, server: Server, model: str, *, index: int
) -> AsyncIterator[Event]:
    """Compute the probability of each choice as the whole answer, and draw one as a token is drawn.

    Raises:
        PhiError: a choice has no tokens, two have the same, or none is likely enough to be told.
    """
    asked = time.perf_counter()
    prompt, written = await native.prompt_and(request, request.choices)
    options = list(map(tuple, written))
    ends = await native.ends()
    distinct(options)
    yield started(request, server, model, len(prompt), asked, index)
    likely: dict[tuple[int, ...], list[Likely]] = {}  # after each beginning that some choices share
    for option in options:
        for length in range(len(option) + 1):
            if option[:length] not in likely:
                likely[option[:length]] = await native.likeliest([*prompt, *option[:length]], MOST)
    scores = [
        sum(_logprob(likely[option[:at]], {token}) for at, token in enumerate(option)) + _logprob(likely[option], ends)
        for option in options
    ]
    if not math.isfinite(max(scores)):
        raise PhiError("the server tells of no choice how likely it is: none is among its likeliest answers")
    chosen, chances = drawn(request, scores)
    for at, token in enumerate(options[chosen]):
        record = await native.record([*prompt, *options[chosen][:at]], token, request.top_logprobs)
        yield Step(index, record, "" if at else request.choices[chosen], time.perf_counter())
    yield Finished(index, "stop", at=time.perf_counter(), choices=chances)


def distinct(options: Sequence[Sequence[int]]) -> None:
    """Check the tokens of choices.

    Raises:
        PhiError: a choice has none, or two have the same.
    """
    if not all(options):
        raise PhiError("a choice has no tokens: leave it out")
    if len(set(map(tuple, options))) < len(options):
        raise PhiError("two choices have the same tokens in this model: leave one out")


def drawn(request: GenerationRequest, scores: Sequence[float]) -> tuple[int, dict[str, float]]:
    """Draw one of the choices as a token is drawn; return its place, and the probabilities of all.

    Args:
        scores: the logarithm of each choice's probability as the whole answer; at least one is finite.
    """
    import numpy as np

    from ..draws import draw, random_number

    weights = np.exp(np.array(scores) - max(scores))
    relative = np.array(scores, dtype=np.float32) - np.float32(max(scores))
    chosen = draw(relative, (), random_number(request.seed, 0), request.sampling)
    return chosen, dict(zip(request.choices, (weights / weights.sum()).tolist(), strict=True))


def _logprob(likely: Sequence[Likely], tokens: set[int] | frozenset[int]) -> float:
    """The natural logarithm of the probability that one of some tokens comes; minus infinity where none is told."""
    found = [one.logprob_or_least for one in likely if one.id in tokens]
    greatest = max(found, default=-math.inf)
    return greatest + math.log(sum(math.exp(one - greatest) for one in found)) if math.isfinite(greatest) else greatest


def started(request: GenerationRequest, server: Server, model: str, size: int, asked: float, index: int) -> Started:
    engine = server.record(model, request.sampling)
    return Started(index, prompt_tokens=size, prompt=time.perf_counter() - asked, engine=engine)
