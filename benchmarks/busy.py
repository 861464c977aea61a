"""Threads on a machine with other work: ``python -m benchmarks.busy``.

Decode and prefill in a worker process of its own for each way to wait at OpenMP's barriers, beside none, one and three
other processes that keep a core busy. The ways take turns, round by round.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import report, stand_in
from benchmarks.__main__ import DEMO, DOCUMENT, FOLDER, insert

_BUSY = (0, 1, 3)
_ASK = """
import json, sys, time
from phi_magic import Phi
from benchmarks.work import words
model, threads, tokens = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
phi = Phi(model=model, seed=1, n_threads=threads)
phi("x", max_tokens=2)
reply = phi(words(128), max_tokens=tokens)
new = reply.usage.prompt_tokens - reply.usage.cached_tokens
print(json.dumps({"decode": reply.timings.tokens_per_second, "prefill": new / reply.timings.prompt}))
"""


@dataclass(frozen=True)
class Way:
    """How many threads, and how they wait for one another."""

    threads: int
    environment: Mapping[str, str]


WAYS = {
    "one thread": Way(1, {}),
    "two threads, libgomp's default": Way(2, {"GOMP_SPINCOUNT": "300000"}),
    "two threads, as we start them": Way(2, {}),
    "two threads, waiting ones sleep": Way(2, {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.busy", description=__doc__)
    parser.add_argument("--small", action="store_true", help="with a model of two layers, one round")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way runs, in turn (3)")
    parser.add_argument("--write", action="store_true", help="renew the table in docs/performance.md")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    if options.small:
        options.rounds, tokens = 1, 8
        model = FOLDER / "small.gguf"
        stand_in.write(DEMO, model, stand_in.SMALL)
    else:
        model, tokens = stand_in.full_size(FOLDER), 24
    text = "\n\n".join(
        [
            report.describe(report.machine(), [os.getloadavg()[0], os.getloadavg()[0]], options.rounds),
            "\n".join(_rows(model, options.rounds, tokens)),
        ]
    )
    print(text)
    if options.write:
        insert(DOCUMENT, "busy", text)
    return 0


def _rows(model: Path, rounds: int, tokens: int) -> Iterator[str]:
    yield "| decode, tokens/s (prefill of 128) | " + " | ".join(f"{count} other processes" for count in _BUSY) + " |"
    yield "| --- |" + " ---: |" * len(_BUSY)
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    for count in _BUSY:
        with _others(count):
            for _ in range(rounds):
                for name, way in WAYS.items():
                    found.setdefault((name, count), []).append(_ask(model, way, tokens))
    for name in WAYS:
        runs = [found[name, count] for count in _BUSY]
        cells = [f"{_median(one, 'decode'):.3g} ({_median(one, 'prefill'):.3g})" for one in runs]
        yield f"| {name} | " + " | ".join(cells) + " |"


def _median(runs: Sequence[Mapping[str, float]], key: str) -> float:
    return median(run[key] for run in runs)


@contextmanager
def _others(count: int) -> Iterator[None]:
    """So many processes that each keep a core busy."""
    with ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(process.kill)
        yield


def _ask(model: Path, way: Way, tokens: int) -> dict[str, float]:
    command = [sys.executable, "-c", _ASK, str(model), str(way.threads), str(tokens)]
    environment = {**os.environ, **way.environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


if __name__ == "__main__":
    sys.exit(main())
