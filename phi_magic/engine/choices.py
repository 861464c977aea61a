"""Compute the probability of each given text as the whole answer.

After the prompt, and after the thoughts of a reasoning model (:mod:`.deliberation`), the texts of many requests are
evaluated together: a pass has one sequence for each request, and each text stands there in turn. For few requests a pass
has a sequence for each text. The probability of a text is that of its tokens, one after another, and of the end of the turn
after them. The probabilities are divided by their sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import PhiError
from ..generation.backend import Event, Finished, Started, Step
from ..generation.request import GenerationRequest
from ..interrupt import Stop
from .answer import TokenizedPrompt, rendered, started
from .batch import WIDE, Batch
from .context import SLICE_MAX
from .model import Model
from .runtime import Runtime
from .sampler import Sampler
from .writer import Writer

#: The most tokens of one choice. A pass of the fewest sequences has room for so many of each.
LONGEST = SLICE_MAX // WIDE
_ENOUGH = 32  # sequences in a pass; more of them gain little


@dataclass
class Ballot:
    """A request with choices, whose prompt has been rendered.

    Attributes:
        index: which request it is, for the events.
        prompt: what the choices stand after.
        options: token ids of each choice.
        load: seconds that loading the model took.
    """

    index: int
    request: GenerationRequest
    prompt: TokenizedPrompt
    options: Sequence[list[int]]
    load: float = 0.0

    @property
    def longest(self) -> int:
        """Tokens of the longest choice."""
        return max(map(len, self.options))

    @property
    def room(self) -> int:
        """Tokens of context that the prompt and the longest choice take."""
        return len(self.prompt) + self.longest


def read_choices(
    runtime: Runtime, model: Model, request: GenerationRequest, *, after: str | None = None
) -> list[list[int]]:
    """Return the token ids of each choice, as the model would write it.

    Args:
        after: the text that it stands after; the prompt where left out.

    Raises:
        PhiError: a choice has no tokens or too many, or two have the same.
    """
    before = rendered(runtime, model, request).text if after is None else after
    with runtime.bound("cutting the choices into tokens"):
        options = [model.tokens_after(before, choice) for choice in request.choices]
    for choice, tokens in zip(request.choices, options, strict=True):
        if not 0 < len(tokens) <= LONGEST:
            raise PhiError(f"the choice {choice[:40]!r} has {len(tokens)} tokens: it may have 1 to {LONGEST}")
    if len({tuple(tokens) for tokens in options}) < len(options):
        raise PhiError("two choices have the same tokens in this model: leave one out")
    return options


def sequences(ballots: Sequence[Ballot]) -> int:
    """Return how many sequences to have for these requests: one for each, and for few requests one for each choice."""
    return max(len(ballots), min(_ENOUGH, sum(len(ballot.options) for ballot in ballots)))


def decide(runtime: Runtime, batch: Batch, ballots: Sequence[Ballot], stop: Stop) -> Iterator[Event]:
    """Answer requests with choices.

    All choices of a request go through one kind of pass, in which each sequence has as many tokens as the longest
    choice. A sequence's logits do not depend on the others, so a request's probabilities do not depend on the other requests.

    Raises:
        Interrupted: ``stop`` was set.
    """
    shapes: dict[tuple[int, int], list[Ballot]] = {}
    for ballot in ballots:
        shapes.setdefault((len(ballot.options), ballot.longest), []).append(ballot)
    for (options, longest), alike in shapes.items():
        most = min(batch.sequences, SLICE_MAX // longest)
        if longest > 1:  # the logits after the first tokens are kept until a choice is drawn
            most = max(1, min(most, SLICE_MAX // (options * (longest - 1))))
        for start in range(0, len(alike), most):
            yield from _decide(runtime, batch, alike[start : start + most], stop)


def _decide(runtime: Runtime, batch: Batch, ballots: Sequence[Ballot], stop: Stop) -> Iterator[Event]:
    """Read some prompts, evaluate all their choices in as few passes as there is room for, and draw."""
    ballots = sorted(ballots, key=lambda ballot: -len(ballot.prompt))  # neighbours of similar length share a pass
    options, longest = len(ballots[0].options), ballots[0].longest
    before: dict[int, NDArray[np.float32]] = {}
    yield from _read(runtime, batch, ballots, before, stop)
    # The prompts are in the first sequences; where there are more, these are copies for further choices in the same pass.
    size = min(options, min(batch.sequences, SLICE_MAX // longest) // len(ballots))
    for sequence in range(len(ballots), size * len(ballots)):
        batch.copy(sequence % len(ballots), sequence)
    scores = [[0.0] * options for _ in ballots]
    rows: dict[tuple[int, int], list[NDArray[np.float32]]] = {}  # the logits after all tokens of a choice but the last
    for start in range(0, options, size):
        chunk = [(at, choice) for choice in range(start, min(start + size, options)) for at in range(len(ballots))]
        given = [ballots[at].options[choice] for at, choice in chunk]
        # Later tokens change no earlier logits.
        filled = {sequence: tokens + [0] * (longest - len(tokens)) for sequence, tokens in enumerate(given)}
        batch.extend(filled, stop=stop)
        for sequence, (at, choice) in enumerate(chunk):
            after = [batch.logits(sequence, place) for place in range(len(given[sequence]))]
            scores[at][choice] = _score(runtime.loaded[0], given[sequence], [before[at], *after])
            rows[at, choice] = [row.copy() for row in after[:-1]]
            batch.forget_after(sequence, len(ballots[at].prompt))
    for at, ballot in enumerate(ballots):
        chosen, probabilities = _draw(ballot.request, scores[at])
        yield from _written(runtime, ballot, chosen, [before[at], *rows[at, chosen]])
        yield Finished(
            ballot.index,
            "stop",
            at=runtime.clock(),
            choices=dict(zip(ballot.request.choices, probabilities, strict=True)),
        )


def _read(
    runtime: Runtime,
    batch: Batch,
    ballots: Sequence[Ballot],
    before: dict[int, NDArray[np.float32]],
    stop: Stop,
) -> Iterator[Started]:
    """Read the prompts of some requests into the first sequences, and note the logits after each."""
    began = runtime.clock()
    prompts = {at: ballot.prompt.tokens for at, ballot in enumerate(ballots)}
    for cached in batch.prefill(prompts, stop=stop):
        seconds = runtime.clock() - began
        for at, tokens in cached.items():
            ballot = ballots[at]
            before[at] = batch.logits(at).copy()
            yield started(
                runtime,
                ballot.prompt,
                ballot.room,
                ballot.index,
                cached=tokens,
                load=ballot.load,
                seconds=seconds,
                passes="wide",
            )
        began = runtime.clock()


def _score(model: Model, tokens: Sequence[int], rows: Sequence[NDArray[np.float32]]) -> float:
    """The natural logarithm of the probability of these tokens and of the end of the turn after them.

    Args:
        rows: the logits before each token, and those after the last one.
    """
    written = sum(float(row[token]) - log_mass(row) for token, row in zip(tokens, rows, strict=False))
    end = rows[-1][model.end_tokens]
    return written + log_mass(end) - log_mass(rows[-1])


def log_mass(logits: NDArray[np.float32]) -> float:
    """The logarithm of the sum of the exponentials.

    Raises:
        PhiError: the logits are no numbers.
    """
    greatest = float(logits.max())
    if not math.isfinite(greatest):
        raise PhiError("the model's scores are not numbers: its file is damaged; get it again")
    return greatest + math.log(float(np.exp(logits - greatest).sum(dtype=np.float64)))


def _draw(request: GenerationRequest, scores: Sequence[float]) -> tuple[int, list[float]]:
    """Draw a choice as a token is drawn; return its number, and the probability of each."""
    likelihood = np.exp(np.array(scores) - max(scores))
    sampler = Sampler(request.sampling, request.seed, len(scores))
    try:
        chosen = sampler.draw(np.array(scores, dtype=np.float32) - np.float32(max(scores))).token
    finally:
        sampler.close()
    return chosen, (likelihood / likelihood.sum()).tolist()


def _written(runtime: Runtime, ballot: Ballot, chosen: int, rows: Sequence[NDArray[np.float32]]) -> Iterator[Step]:
    """Yield the tokens of a choice; ``rows`` are the logits before each."""
    model, _ = runtime.loaded
    tokens = ballot.options[chosen]
    told = replace(ballot.request, begin=tuple(tokens), stop=(), choices=())
    writer = Writer(model, told, limit=len(tokens), index=ballot.index, clock=runtime.clock)
    try:
        for at, row in enumerate(rows):
            if step := writer.step(row):
                yield Step(ballot.index, step.token, "" if at else ballot.request.choices[chosen], step.at)
    finally:
        writer.close()
