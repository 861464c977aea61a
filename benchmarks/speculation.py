"""What speculative decoding gains: ``python -m benchmarks.speculation``.

Two things decide it, and no model here has both: how often drafts are right, which takes a trained model, and what a pass
costs, which takes one of full size. So the loop that drafts writes answers again that are known: the shipped model's, and
an edit without a mistake. Every pass takes as long, on a clock that only counts, as a pass of that many tokens took on the
stand-in. The gain is the time without drafts over the time with them.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any
from unittest import mock

from benchmarks import stand_in
from benchmarks.__main__ import DEMO, DOCUMENT, FOLDER, insert
from benchmarks.contenders import PROJECT
from phi_magic import Phi
from phi_magic.engine import speculative
from phi_magic.engine.context import Context
from phi_magic.engine.engine import Engine
from phi_magic.engine.model import Model
from phi_magic.engine.plan import choose
from phi_magic.generation.backend import Step
from phi_magic.generation.plan import Plan
from phi_magic.gguf.checks import read_header
from phi_magic.interrupt import Stop
from training.exceptions import failure

_DEPTH = 256  # tokens that stand before the passes that are measured
_TIMES = 6  # answers of a kind
_SUBJECTS = ("ice hockey", "the sea", "rain", "bread", "a library", "the moon")
_ASKED = (
    "What is temperature?",
    "What is top-p?",
    "Who are you?",
    "What is a token?",
    "What is a seed?",
    "What is min-p?",
)
#: A file of this project, and what an edit makes of it: the answer that a model would give that makes no mistakes.
_CODE = (PROJECT / "phi_magic" / "rendering" / "redraw.py").read_text(encoding="utf-8")
_RENAMED = ("seconds", "duration")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speculation", description=__doc__)
    parser.add_argument("--small", action="store_true", help="with the passes of a model of two layers")
    parser.add_argument("--threads", type=int, default=0, help="for the passes (0: as many as are chosen)")
    parser.add_argument("--write", action="store_true", help="renew the tables in docs/performance.md")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    if options.small:
        path = FOLDER / "small.gguf"
        stand_in.write(DEMO, path, stand_in.SMALL)
    else:
        path = stand_in.full_size(FOLDER)
    plan = choose(read_header(path), n_threads=options.threads)
    flash = replace(plan, flash_attention=True, key_type="q8_0", value_type="q8_0")
    # The drafts that exactness allows, and those without it.
    ways = {
        "exact=False": (plan, speculative.WIDTHS),
        "profile='memory', exact": (flash, speculative.widths(flash, exact=True)),
    }
    costs = {name: passes(path, one, widths) for name, (one, widths) in ways.items()}
    text = "\n\n".join(["\n".join(_cost_rows(costs)), "\n".join(_gain_rows(costs))])
    print(text)
    if options.write:
        insert(DOCUMENT, "speculation", text)
    return 0


def passes(path: Path, plan: Plan, widths: Sequence[int]) -> dict[int, float]:
    """Median seconds of a pass over a token and so many draft tokens; 0 of them too."""
    model = Model(path, mmap=plan.mmap, repack=plan.repack)
    context = Context(model, plan)
    stop, taken = Stop(), {}
    try:
        context.prefill([1] * _DEPTH, room=_DEPTH + 64, stop=stop)
        for drafted in (0, *widths):
            times = []
            for _ in range(5):
                started = time.perf_counter()
                context.extend([1] * (drafted + 1), stop=stop)
                times.append(time.perf_counter() - started)
                context.forget_after(_DEPTH)
            taken[drafted] = median(times[1:])
    finally:
        context.close()
        model.close()
    return taken


class _Retold:
    """Context and writer in one: tells an answer that is known again, and counts the seconds on a clock of its own."""

    def __init__(self, prompt: Sequence[int], answer: Sequence[int], costs: Mapping[int, float]) -> None:
        self.tokens = list(prompt)
        self._answer, self._costs = answer, costs
        self._told = 1  # the first token needs no pass after the prompt's
        self.seconds = 0.0

    @property
    def token(self) -> int:
        return self._answer[self._told - 1]

    @property
    def finish_reason(self) -> bool:
        return self._told == len(self._answer)

    def extend(self, tokens: Sequence[int], **_: Any) -> None:
        self.tokens += tokens
        drafted = len(tokens) - 1
        if drafted not in self._costs:  # cut short: as the widths around it
            wider = min((width for width in self._costs if width > drafted), default=max(self._costs))
            self.seconds += self._costs[wider] * (drafted + 1) / (wider + 1)
        else:
            self.seconds += self._costs[drafted]

    def row(self, _: int) -> None:
        return None

    def step(self, _: None) -> Step:
        self._told += 1
        return Step()

    def forget_after(self, length: int) -> None:
        del self.tokens[length:]


def gain(prompt: Sequence[int], answer: Sequence[int], costs: Mapping[int, float], learnt: dict[int, float]) -> float:
    """The time of an answer's passes one token at a time, over that with drafts; ``learnt`` of other answers' passes."""
    retold: Any = _Retold(prompt, answer, costs)
    lookup = speculative.Lookup(prompt)
    length = speculative.DraftLength([width for width in costs if width], learnt)
    with mock.patch.object(speculative, "time", SimpleNamespace(perf_counter=lambda: retold.seconds)):
        while not retold.finish_reason:
            for _ in speculative.advance(retold, retold, lookup, length, room=1 << 20, stop=Stop()):
                pass
    taken: float = retold.seconds
    return (len(answer) - 1) * costs[0] / taken


def _cost_rows(costs: Mapping[str, Mapping[int, float]]) -> Iterator[str]:
    widths = sorted({width for one in costs.values() for width in one})
    yield "| tokens in a pass | " + " | ".join(str(width + 1) for width in widths) + " |"
    yield "| --- |" + " ---: |" * len(widths)
    for name, one in costs.items():
        yield (
            f"| {name}: seconds, of one token's | "
            + " | ".join(f"{one[width] / one[0]:.2f}" if width in one else "" for width in widths)
            + " |"
        )


def _gain_rows(costs: Mapping[str, Mapping[int, float]]) -> Iterator[str]:
    yield "| answers | tokens | " + " | ".join(costs) + " |"
    yield "| --- | ---: |" + " ---: |" * len(costs)
    for name, answers in _answers().items():
        tokens = median(len(answer) for _, answer in answers)
        # What passes cost is learnt once for a model, by the first answer.
        gains = []
        for one in costs.values():
            learnt: dict[int, float] = {}
            gains.append([gain(prompt, answer, one, learnt) for prompt, answer in answers])
        cells = [f"{median(found):.2f} ({min(found):.2f} to {max(found):.2f})" for found in gains]
        yield f"| {name} | {tokens:.0f} | " + " | ".join(cells) + " |"


def _answers() -> dict[str, list[tuple[list[int], list[int]]]]:
    """Prompts and answers of each kind, as the shipped model's tokens."""
    phi, rng = Phi(model=str(DEMO)), random.Random(0)  # noqa: S311 (no secret)
    phi.backend = engine = Engine()

    def ask(text: str, seed: int) -> tuple[list[int], list[int]]:
        reply = phi(text, seed=seed)
        return engine.loaded[1].tokens[: reply.usage.prompt_tokens], [token.id for token in reply.tokens]

    failures = [failure(rng) for _ in range(_TIMES)]
    mended = [ask(failed.prompt, seed) for seed, failed in enumerate(failures)]
    model, _ = engine.loaded
    edited = (
        model.tokenize(f"Rename {_RENAMED[0]} to {_RENAMED[1]}:\n\n{_CODE}"),
        model.tokenize(_CODE.replace(*_RENAMED)),
    )
    return {
        "copies: a file with one name changed, as asked": [edited],
        "copies: a failing cell mended, by the shipped model": mended,
        "elsewhere: haiku": [ask(f"Write a haiku about {it}", seed) for seed, it in enumerate(_SUBJECTS)],
        "elsewhere: a question": [ask(question, seed) for seed, question in enumerate(_ASKED)],
    }


if __name__ == "__main__":
    sys.exit(main())
