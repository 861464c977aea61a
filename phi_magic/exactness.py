"""Check whether this machine keeps the promise of docs/exactness.md: ``python -m phi_magic.exactness [MODEL]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .engine.batch import WIDE, Batch
from .engine.context import SLICE_MAX, SLICE_MIN, Context
from .engine.memory_estimate import CELLS
from .engine.model import Model
from .engine.plan import choose
from .engine.speculative import EXACT_WIDTHS
from .errors import PhiError
from .generation.plan import Plan
from .gguf.checks import read_header
from .interrupt import Stop
from .models.files import resolve

_PROMPT = SLICE_MAX + 2 * SLICE_MIN  # tokens: more than one slice
_ANSWER = max(EXACT_WIDTHS) + 1  # tokens; the most that a pass with a draft may have and be exact
_SLICES = (SLICE_MIN, SLICE_MIN + 1, 3 * SLICE_MIN + 5, 64, 200)
_WIDTHS = (2 * WIDE, 4 * WIDE)
_SHARED = (SLICE_MIN, SLICE_MIN + 4, 5 * SLICE_MIN + 3)

Logits = NDArray[np.float32]


def probe(model: Model, plan: Plan) -> Iterator[tuple[str, bool]]:
    """Yield each condition of the promise as a line, and whether it holds here: the logits must be identical.

    Args:
        plan: how the model is run; thread counts and sizes are varied from there.
    """
    random = np.random.default_rng(0)
    prompt, answer = (random.integers(3, model.n_vocab, count).tolist() for count in (_PROMPT, _ANSWER))
    other = replace(plan, n_threads=1 if plan.n_threads > 1 else 2)
    usual = _singly(model, plan, prompt, answer)

    def agree(*ways: Callable[[], Sequence[Logits]]) -> bool:
        return all(np.array_equal(one, two) for way in ways for one, two in zip(usual, way(), strict=True))

    yield "any number of threads", agree(lambda: _singly(model, other, prompt, answer))
    yield "any size of the context", agree(lambda: _singly(model, plan, prompt, answer, room=_larger(model)))
    if not plan.slices_alike:
        yield "the same passes again, after another prompt", agree(lambda: _again(model, plan, prompt, answer))
        return
    yield (
        f"a prompt in slices of {SLICE_MIN} to {SLICE_MAX} tokens, however it is cut",
        agree(*(lambda size=size: _singly(model, plan, prompt, answer, slices=size) for size in _SLICES)),
    )
    yield "a KV cache that is saved and restored", agree(lambda: _restored(model, plan, prompt, answer))
    if plan.decodes_alike(len(answer)):
        yield "tokens decoded together, as a draft is", agree(lambda: _drafted(model, plan, prompt, answer))
    if model.border and model.rope_factors(1) == "short":
        line = "requests on either side of the border between two sets of RoPE factors"
        yield line, _apart(model, plan, prompt, model.border)
    alone = _wide(model, plan, prompt, answer, WIDE)
    yield (
        f"a sequence in passes of {WIDE} and more, whatever the others are",
        all(
            np.array_equal(one, two)
            for width in _WIDTHS
            for one, two in zip(alone, _wide(model, plan, prompt, answer, width), strict=True)
        ),
    )
    yield (
        f"a prompt of {SLICE_MIN} tokens and more, alone and in one pass with others",
        all(_sharing(model, plan, prompt, answer, length) for length in _SHARED),
    )


def _singly(
    model: Model, plan: Plan, prompt: list[int], answer: list[int], *, slices: int = _PROMPT, room: int = 0
) -> list[Logits]:
    """Logits after a prompt, and after each token of an answer; the prompt is evaluated a slice at a time."""
    stop = Stop()
    with closing(Context(model, plan)) as context:
        # A remainder that is shorter than the shortest slice is part of the slice before it.
        ends = [*range(slices, len(prompt) - SLICE_MIN + 1, slices), len(prompt)]
        for end in ends:
            context.prefill(prompt[:end], room=room or len(prompt) + len(answer), stop=stop)
        return _after(context, answer)


def _again(model: Model, plan: Plan, prompt: list[int], answer: list[int]) -> list[Logits]:
    """Return the same logits, from a context that has answered the same prompt and another one before."""
    stop, room = Stop(), len(prompt) + len(answer)
    with closing(Context(model, plan)) as context:
        for text in (prompt, prompt[: len(prompt) // 2], prompt):
            context.prefill(text, room=room, stop=stop)
            found = _after(context, answer)
    return found


def _larger(model: Model) -> int:
    """Return the size of a larger context than prompt and answer need, with the same RoPE factors."""
    rooms = range(_PROMPT + _ANSWER + 1000, _PROMPT + _ANSWER, -CELLS)
    factors = model.rope_factors(_PROMPT + _ANSWER)
    return next((room for room in rooms if model.rope_factors(room) == factors), _PROMPT + _ANSWER)


def _apart(model: Model, plan: Plan, prompt: list[int], border: int) -> bool:
    """Check that a request on one side of the RoPE border gets the same logits after a request on the other side as in
    a new context.
    """
    text = prompt[: border // 2]

    def logits(context: Context, room: int) -> Logits:
        context.prefill(text, room=room, stop=Stop())
        return context.logits.copy()

    rooms = (border // CELLS * CELLS, border + 1)
    alone = []
    for room in rooms:
        with closing(Context(model, plan)) as context:
            alone.append(logits(context, room))
    with closing(Context(model, plan)) as context:
        return all(np.array_equal(logits(context, room), alone[at]) for _ in range(2) for at, room in enumerate(rooms))


def _after(context: Context, answer: list[int]) -> list[Logits]:
    """Return the logits after a prompt that was just evaluated, and after each token of an answer."""
    found = [context.logits.copy()]
    for token in answer:
        context.append(token, stop=Stop())
        found.append(context.logits.copy())
    return found


def _restored(model: Model, plan: Plan, prompt: list[int], answer: list[int]) -> list[Logits]:
    """Return the same logits, after half of the prompt was saved and restored and after the context has grown."""
    stop, half = Stop(), prompt[: len(prompt) // 2]
    with closing(Context(model, plan)) as context:
        for text in (half, prompt[::-1][: len(half)], half):
            context.prefill(text, room=len(text), stop=stop)
        context.prefill(prompt, room=len(prompt) + len(answer), stop=stop)
        return _after(context, answer)


def _drafted(model: Model, plan: Plan, prompt: list[int], answer: list[int]) -> list[Logits]:
    """Return the same logits, with the answer's tokens in one pass."""
    stop = Stop()
    with closing(Context(model, plan)) as context:
        context.prefill(prompt, room=len(prompt) + len(answer), stop=stop)
        found = [context.logits.copy()]
        context.extend(answer, stop=stop)
        return found + [context.row(row).copy() for row in range(len(answer))]


def _wide(model: Model, plan: Plan, prompt: list[int], answer: list[int], width: int) -> list[Logits]:
    """Return the same logits, for one sequence of a batch whose other sequences have other prompts."""
    stop = Stop()
    with closing(Batch(model, plan, sequences=width, room=len(prompt) + len(answer))) as batch:
        sequence = width // 2
        neighbours = [other for other in range(width) if other != sequence and width > WIDE]
        list(batch.prefill({other: prompt[other : other + SLICE_MIN] for other in neighbours}, stop=stop))
        list(batch.prefill({sequence: prompt}, stop=stop))
        found = [batch.logits(sequence).copy()]
        for token in answer:
            others = {neighbour: neighbour + 3 for neighbour in range(width)} if width > WIDE else {}
            batch.decode({**others, sequence: token}, stop=stop)
            found.append(batch.logits(sequence).copy())
    return found


def _sharing(model: Model, plan: Plan, prompt: list[int], answer: list[int], length: int) -> bool:
    """Check that a prompt has the same logits after it, and after each token of an answer, alone and among others that
    share its pass, with and without a prefix.
    """
    stop, mine, found = Stop(), prompt[:length], []
    for others in (0, 1, 2 * WIDE):
        with closing(Batch(model, plan, sequences=3 * WIDE, room=CELLS)) as batch:
            prompts = {at: mine[: len(mine) - at % SLICE_MIN] for at in range(others)} | {others: mine}
            batch.share(list(prompts.values()), stop=stop)
            passes = batch.prefill(prompts, stop=stop)
            logits = next(batch.logits(others).copy() for ended in passes if others in ended)
            list(passes)
            found.append([logits])
            for token in answer:
                batch.decode({others: token}, stop=stop)
                found[-1].append(batch.logits(others).copy())
    return all(np.array_equal(one, two) for way in found[1:] for one, two in zip(found[0], way, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m phi_magic.exactness", description=__doc__)
    parser.add_argument("model", nargs="?", default="demo", help="a model as -m takes it (default %(default)s)")
    parser.add_argument("--profile", choices=["auto", "speed", "memory"], default="auto")
    given = parser.parse_args()
    try:
        header = read_header(resolve(given.model, download=False).path)
    except PhiError as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return 2
    plan = choose(header, profile=given.profile)
    kept = True
    with closing(
        Model(
            header.path,
            n_gpu_layers=plan.n_gpu_layers,
            repack=plan.repack,
            mmap=plan.mmap,
            border=header.rope_border,
        )
    ) as model:
        for line, holds in probe(model, plan):
            sys.stdout.write(f"{'identical' if holds else 'DIFFERENT'}  {line}\n")
            sys.stdout.flush()
            kept &= holds
    sys.stdout.write("This machine keeps the promise.\n" if kept else "This machine does not keep the promise.\n")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
