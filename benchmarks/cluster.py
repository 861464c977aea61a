"""Rows of a table on one process and on two, and what a chunk costs on the way: ``python -m benchmarks.cluster``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from benchmarks import report, stand_in
from benchmarks.__main__ import DEMO, FOLDER, insert
from phi_magic import Phi
from phi_magic.generation import executor as executors
from phi_magic.generation.request import ChatMessage, GenerationRequest, ModelReference, SamplingParameters

DOCUMENT = Path(__file__).parent.parent / "docs" / "cluster.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--small", action="store_true", help="with a model of two layers, one round")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way runs, in turn (3)")
    parser.add_argument("--write", action="store_true", help="renew the table in docs/cluster.md")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    if options.small:
        options.rounds, rows = 1, 16
        model = FOLDER / "small.gguf"
        stand_in.write(DEMO, model, stand_in.SMALL)
    else:
        model, rows = stand_in.full_size(FOLDER), 32
    load = os.getloadavg()[0]
    table = "\n".join(_rows(model, options.rounds, rows))
    text = f"{report.describe(report.machine(), [load, os.getloadavg()[0]], options.rounds)}\n\n{table}"
    print(text)
    if options.write:
        insert(DOCUMENT, "cluster", text)
    return 0


def _rows(model: Path, rounds: int, rows: int) -> list[str]:
    prompts = [f"Say in a word whether the guest of table {number} was content with the soup" for number in range(rows)]
    phi = Phi(model=str(model), seed=1, max_tokens=8)

    def here(threads: int) -> Callable[[], object]:
        return lambda: phi.map(prompts, n_threads=threads, progress=False)

    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        ways = {
            "one process, one thread": here(1),
            "one process, two threads": here(2),
            "two processes, one thread each": lambda: phi.map(prompts, executor=pool, progress=False),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds + 1):
            for name, run in ways.items():
                taken = _timed(run)
                if number:  # the first loads the model
                    seconds[name].append(taken)
        chunk = _chunk(pool)
    one = median(seconds["one process, one thread"])
    return [
        f"| {rows} rows, 8 tokens of answer | rows/s | as many times |",
        "| --- | ---: | ---: |",
        *(f"| {name} | {rows / median(taken):.3g} | {one / median(taken):.2f} |" for name, taken in seconds.items()),
        f"| a chunk on its way there and back, ms | {1000 * chunk:.3g} | |",
    ]


def _chunk(pool: Executor) -> float:
    """Seconds that eight requests take to a process and back, on average, without being answered."""
    messages = (ChatMessage("user", "Say in a word whether the guest was content with the soup"),)
    requests = [GenerationRequest(ModelReference("demo"), messages, SamplingParameters(), 1, 8)] * 8
    return median(_timed(lambda: pool.submit(list, requests).result()) for _ in range(100))


def _timed(run: Callable[[], object]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


if __name__ == "__main__":
    executors._LEAST = 200  # noqa: SLF001 (the table is small: a chunk for each process)
    sys.exit(main())
