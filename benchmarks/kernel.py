"""What streaming into a notebook costs: ``%%phi`` in a real kernel, in turn with the bare decode loop in that kernel.

All evaluate the same tokens after the same prompt: the first draws them, makes text of them and redraws the cell, the
second tells of five alternatives to each besides, the last only evaluates them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from statistics import median
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

from benchmarks.work import Work, words

_ROUNDS = 12
_TOKENS = 17  # of an answer: many short pairs feel the same weather, few long ones do not
_PATIENCE = 600.0  # seconds

_BARE = """
import time as _time
from phi_magic.engine.engine import Engine as _Engine
from phi_magic.generation.request import ModelReference as _ModelReference
from phi_magic.interrupt import Stop as _Stop
_engine = _Engine()
def _bare(tokens, reference):
    _engine.load(reference, _Stop())
    _, context = _engine.loaded
    prompt = [1] * answer.usage.prompt_tokens
    context.follow(prompt, tokens[:1], room=len(prompt) + len(tokens), stop=_Stop())
    started = _time.perf_counter()
    for token in tokens[1:]:
        context.append(token, stop=_Stop())
    return (len(tokens) - 1) / (_time.perf_counter() - started)
"""


def main() -> None:
    work = Work.read()
    manager, client = start_new_kernel()
    try:
        _run(client, "%load_ext phi_magic")
        _run(client, f"%config Phi.model = {work.model!r}")
        _run(client, f"%config Phi.n_threads = {work.threads}")
        _run(client, _BARE)
        question = words(max(work.prefill[:1]))

        def answer(option: str) -> float:
            _run(client, f"%%phi --seed 1 -n {_TOKENS} {option} -o answer\n{question}")
            return float(_run(client, "", "answer.timings.tokens_per_second"))

        def evaluate() -> float:
            reference = f"_ModelReference({work.model!r}, n_threads={work.threads})"
            return float(_run(client, "", f"_bare([token.id for token in answer.tokens], {reference})"))

        answer("")
        streamed: list[float] = []
        told: list[float] = []
        bare: list[float] = []
        turns: list[tuple[list[float], Callable[[], float]]] = [
            (streamed, lambda: answer("")),
            (told, lambda: answer("--top-logprobs 5")),
            (bare, evaluate),
        ]
        for _ in range(_ROUNDS):
            for found, act in turns:
                found.append(act())
            turns.reverse()  # what a machine that grows slower takes from the last, it takes from the first in turn
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)

    def ratio(ones: list[float], others: list[float]) -> float:
        """Each pair ran within the same seconds: its ratio, not that of the medians, is least disturbed by others."""
        return median(one / other for one, other in zip(ones, others, strict=True))

    figures = {"streamed": median(streamed), "told": median(told), "bare": median(bare)}
    print(json.dumps(figures | {"ratio": ratio(streamed, bare), "telling": ratio(told, streamed)}))


def _run(client: BlockingKernelClient, code: str, expression: str = "None") -> Any:
    """Run a cell, reading what it displays as a frontend does; the expression's value after it."""
    reply = client.execute_interactive(
        code, user_expressions={"value": expression}, output_hook=lambda _: None, timeout=_PATIENCE
    )["content"]
    if reply["status"] != "ok":
        raise RuntimeError(f"{reply['ename']}: {reply['evalue']}")
    value = reply["user_expressions"]["value"]
    if value["status"] != "ok":
        raise RuntimeError(f"{value['ename']}: {value['evalue']}")
    text = value["data"]["text/plain"]
    return None if text == "None" else float(text.removeprefix("np.float64(").removesuffix(")"))


if __name__ == "__main__":
    main()
