"""Rows of a table on one process and on two, and what a chunk costs on the way: ``python -m benchmarks.cluster``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from benchmarks import report, stand_in
from benchmarks.__main__ import DEMO, FOLDER, insert
from phi_magic import Phi
from phi_magic.generation import cutting
from phi_magic.generation.backend import Event, Finished, Started, Step, ignore_status
from phi_magic.generation.executor import Distributed
from phi_magic.generation.plan import Plan
from phi_magic.generation.request import GenerationRequest, ModelReference
from phi_magic.generation.stream import StreamAll
from phi_magic.interrupt import Stop
from phi_magic.question import make_question
from phi_magic.reply import Token

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
            "two processes, one thread each": lambda: phi.map(prompts, executor=pool, n_threads=1, progress=False),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds + 1):
            for name, run in ways.items():
                taken = _timed(run)
                if number:  # the first loads the model
                    seconds[name].append(taken)
        chunk, row = _costs(pool)
    one = median(seconds["one process, one thread"])
    return [
        f"| {rows} rows, 8 tokens of answer | rows/s | as many times |",
        "| --- | ---: | ---: |",
        *(f"| {name} | {rows / median(taken):.3g} | {one / median(taken):.2f} |" for name, taken in seconds.items()),
        f"| what a chunk of 16 rows costs the process that sends it, answers included, ms | {1000 * chunk:.3g} | |",
        f"| what each row of a larger chunk costs it, ms | {1000 * row:.3g} | |",
    ]


class Instant:
    """A backend that has each answer, of eight tokens, at once."""

    def generate_many(self, requests: Sequence[GenerationRequest], stop: Stop, **options: object) -> Iterator[Event]:
        for index in range(len(requests)):
            yield Started(index=index, engine=Plan(n_threads=1).to_dict())
            for number in range(8):
                token = Token(number, "word", -1.0, 0.4)
                yield Step(index=index, token=token, text="word ", at=time.perf_counter())
            yield Finished(index=index, reason="stop", at=time.perf_counter())


def instant(models: Sequence[ModelReference]) -> Instant:
    """Choose that backend in a process of the executor."""
    return Instant()


def _costs(pool: Executor) -> tuple[float, float]:
    """Seconds for a chunk of 16 rows, and for each row of a chunk of 1,600: sent, taken in, and made into replies."""
    return _seconds(pool, rows=16, count=1_600) / 100, _seconds(pool, rows=1_600, count=3_200) / 3_200


def _seconds(pool: Executor, *, rows: int, count: int) -> float:
    cutting._ROWS, cutting._SECONDS = rows, 0  # noqa: SLF001 (chunks of this size, however fast they are)
    phi = Phi(model="demo", seed=1, max_tokens=8)
    prompts = ["Say in a word whether the guest was content with the soup"] * count

    def run() -> None:
        questions = [make_question(phi, prompt, True) for prompt in prompts]
        StreamAll(questions, Distributed(pool, Instant(), instant), on_status=ignore_status).run()  # type: ignore[arg-type]  # it answers many requests, and no more

    return median(_timed(run) for _ in range(3))


def _timed(run: Callable[[], object]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
