"""Compute the probability of each given text as the whole answer.

After the prompt, and after the thoughts of a reasoning model (:mod:`.deliberation`), all texts are evaluated in one pass, each in its own sequence. The probability of a text is that
of its tokens, one after another, and of the end of the turn after them. The probabilities are divided by their sum.
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
    options: list[list[int]]
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


def decide(runtime: Runtime, batch: Batch, ballots: Sequence[Ballot], stop: Stop) -> Iterator[Event]:
    """Answer requests with choices.

    All choices of a request go through one kind of pass, in which each sequence has as many tokens as the longest
    choice. A sequence's logits do not depend on the others, so a request's probabilities do not depend on the other requests.

    Raises:
        Interrupted: ``stop`` was set.
    """
    waiting = list(ballots)
    while waiting:
        first = waiting[0]
        together = _fitting(batch, [one for one in waiting if _shape(one) == _shape(first)])
        for ballot in together:
            waiting.remove(ballot)
        yield from _decide(runtime, batch, together, stop)


def _shape(ballot: Ballot) -> tuple[int, int]:
    """How many sequences a request takes, and how many tokens each has."""
    return len(ballot.options), ballot.longest


def _fitting(batch: Batch, alike: Sequence[Ballot]) -> Sequence[Ballot]:
    """Return the first requests that fit one pass together, one at least."""
    options, longest = _shape(alike[0])
    return alike[: max(1, min(batch.sequences // options, SLICE_MAX // (options * longest)))]


def _decide(runtime: Runtime, batch: Batch, ballots: Sequence[Ballot], stop: Stop) -> Iterator[Event]:
    """Read some prompts, evaluate all their choices in as few passes as there is room for, and draw."""
    ballots = sorted(ballots, key=lambda ballot: -len(ballot.prompt))  # neighbours of similar length share a pass
    options, longest = _shape(ballots[0])
    size = min(options, batch.sequences, SLICE_MAX // longest)  # choices of one request in a pass
    scores = {ballot.index: [0.0] * options for ballot in ballots}
    rows: dict[tuple[int, int], list[NDArray[np.float32]]] = {}
    before: dict[int, NDArray[np.float32]] = {}
    for start in range(0, options, size):
        for event in _read(runtime, batch, ballots, before, stop):
            if start == 0:
                yield event
        # The prompts are in the first sequences; the following ones are copies, as many again for each choice.
        chunk = {
            (at, choice): at + len(ballots) * (choice - start)
            for choice in range(start, min(start + size, options))
            for at in range(len(ballots))
        }
        tokens: dict[int, list[int]] = {}
        for (at, choice), sequence in chunk.items():
            if sequence != at:
                batch.copy(at, sequence)
            given = ballots[at].options[choice]
            tokens[sequence] = given + [0] * (longest - len(given))  # later tokens change no earlier logits
        batch.extend(tokens, stop=stop)
        for (at, choice), sequence in chunk.items():
            given, index = ballots[at].options[choice], ballots[at].index
            found = [before[index], *(batch.logits(sequence, place) for place in range(len(given)))]
            scores[index][choice] = _score(runtime.loaded[0], given, found)
            rows[index, choice] = found[:-1] if size == options else [row.copy() for row in found[:-1]]
    for ballot in ballots:
        yield from _draw(runtime, ballot, scores[ballot.index], rows)


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
            before[ballot.index] = batch.logits(at).copy()
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


def _draw(
    runtime: Runtime,
    ballot: Ballot,
    scores: Sequence[float],
    rows: dict[tuple[int, int], list[NDArray[np.float32]]],
) -> Iterator[Event]:
    """Draw a choice as a token is drawn; yield its tokens and the probability of each choice."""
    model, _ = runtime.loaded
    request = ballot.request
    likelihood = np.exp(np.array(scores) - max(scores))
    probabilities = likelihood / likelihood.sum()
    sampler = Sampler(request.sampling, request.seed, len(scores))
    try:
        chosen = sampler.draw(np.array(scores, dtype=np.float32) - np.float32(max(scores))).token
    finally:
        sampler.close()
    tokens = ballot.options[chosen]
    told = replace(request, begin=tuple(tokens), stop=(), choices=())
    writer = Writer(model, told, limit=len(tokens), index=ballot.index, clock=runtime.clock)
    try:
        for at, row in enumerate(rows[ballot.index, chosen]):
            if step := writer.step(row):
                yield Step(ballot.index, step.token, "" if at else request.choices[chosen], step.at)
    finally:
        writer.close()
    yield Finished(
        ballot.index,
        "stop",
        at=runtime.clock(),
        choices=dict(zip(request.choices, probabilities.tolist(), strict=True)),
    )
