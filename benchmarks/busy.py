"""Threads on a machine with other work: ``python -m benchmarks.busy``.

Decode, prefill and a map of 32 rows in a process of its own for each way to use threads, beside none, one and three other
processes that keep a core busy. The ways take turns, round by round. The model is a stand-in of eight of the 32 layers.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import report, stand_in
from benchmarks.__main__ import DEMO, DOCUMENT, FOLDER, insert
from benchmarks.report import Goal

_BUSY = (0, 1, 3)
_ASK = """
import json, sys, time
from phi_magic import Phi
from phi_magic.engine.engine import Engine
from phi_magic.engine.threads import Threads
from benchmarks.work import words
model, threads, adapts, tokens = sys.argv[1], *map(int, sys.argv[2:])
if not adapts:
    Threads.took = lambda self, seconds: None
phi = Phi(model=model, seed=1, n_threads=threads)
phi.backend = Engine()
phi("x", max_tokens=2)
reply = phi(words(128), max_tokens=tokens)
new = reply.usage.prompt_tokens - reply.usage.cached_tokens
started = time.perf_counter()
phi.map([f"Say a word on number {number}" for number in range(32)], max_tokens=8, progress=False)
rows = 32 / (time.perf_counter() - started)
print(json.dumps({"decode": reply.timings.tokens_per_second, "prefill": new / reply.timings.prompt, "rows": rows}))
"""
_MEASURES = {"decode": "decode, tokens/s", "prefill": "prefill of 128, tokens/s", "rows": "map of 32, rows/s"}


@dataclass(frozen=True)
class Way:
    """How many threads, and how they wait for one another."""

    threads: int
    environment: Mapping[str, str]
    adapts: bool = False  #: whether the number of threads follows the measured passes


_ONE, _TODAY, OURS = (
    "one thread",
    "two threads, libgomp's default",
    "as we do it: short spins, and one thread where that is faster",
)
WAYS = {
    _ONE: Way(1, {}),
    _TODAY: Way(2, {}),
    "two threads, short spins": Way(2, {"GOMP_SPINCOUNT": "2000"}),
    OURS: Way(2, {"GOMP_SPINCOUNT": "2000"}, adapts=True),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.busy", description=__doc__)
    parser.add_argument("--small", action="store_true", help="with a model of two layers, one round")
    parser.add_argument("--rounds", type=int, default=2, help="how often each way runs, in turn (2)")
    parser.add_argument("--write", action="store_true", help="renew the table in docs/performance.md")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    if options.small:
        options.rounds, tokens = 1, 8
        model = FOLDER / "small.gguf"
        stand_in.write(DEMO, model, stand_in.SMALL)
    else:
        model, tokens = FOLDER / "eight-layers.gguf", 48
        if not model.exists():
            stand_in.write(stand_in.sources(FOLDER) / stand_in.VOCABULARY, model, stand_in.Shape(layers=8))
    load = os.getloadavg()[0]
    found = measure(model, _BUSY[:2] if options.small else _BUSY, options.rounds, tokens)
    text = "\n\n".join(
        [report.describe(report.machine(), [load, load], options.rounds), table(found), report.goals(found, GOALS)]
    )
    print(text)
    if options.write:
        insert(DOCUMENT, "busy", text)
    return 0


Found = Mapping[tuple[str, int], list[dict[str, float]]]  #: what each way measured beside so many others, by round


def measure(model: Path, counts: Sequence[int], rounds: int, tokens: int) -> Found:
    """Run each way beside each number of other processes."""
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    for count in counts:
        with _others(count):
            for number in range(rounds):
                print(f"{count} other processes, round {number + 1} of {rounds}", file=sys.stderr, flush=True)
                for name, way in WAYS.items():
                    found.setdefault((name, count), []).append(_ask(model, way, tokens))
    return found


def table(found: Found) -> str:
    """Medians: a column for each number of other processes."""
    counts = sorted({count for _, count in found})
    lines = [
        "| | " + " | ".join(f"{count} other processes" for count in counts) + " |",
        "| --- |" + " ---: |" * len(counts),
    ]
    for key, title in _MEASURES.items():
        lines += [
            f"| {title}: {name} | "
            + " | ".join(format(median(run[key] for run in found[name, count]), ".3g") for count in counts)
            + " |"
            for name in WAYS
        ]
    return "\n".join(lines)


def _ratios(key: str, count: int, others: Sequence[str]) -> Callable[[Found], list[float]]:
    """Ours to the best of others, within each round."""

    def ratios(found: Found) -> list[float]:
        rounds = zip(*(found.get((name, count), []) for name in (OURS, *others)), strict=True)
        return [ours[key] / max(other[key] for other in theirs) for ours, *theirs in rounds]

    return ratios


GOALS = [
    Goal(f"{title}: beside {count}, of the better of one and two threads", 0.7, _ratios(key, count, [_ONE, _TODAY]))
    for key, title in _MEASURES.items()
    for count in _BUSY[1:]
] + [
    Goal(f"{title}: alone, of two threads with libgomp's default", 0.97, _ratios(key, 0, [_TODAY]))
    for key, title in _MEASURES.items()
]


@contextmanager
def _others(count: int) -> Iterator[None]:
    """So many processes that each keep a core busy."""
    with ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(process.kill)
        yield


def _ask(model: Path, way: Way, tokens: int) -> dict[str, float]:
    command = [sys.executable, "-c", _ASK, str(model), str(way.threads), str(int(way.adapts)), str(tokens)]
    environment = {**os.environ, "GOMP_SPINCOUNT": "", **way.environment}
    environment = {name: value for name, value in environment.items() if value}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


if __name__ == "__main__":
    sys.exit(main())
