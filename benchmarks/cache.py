"""A notebook of ten seeded questions, run anew and from the cache, in a fresh process each: ``python -m benchmarks.cache``."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks import report, stand_in
from benchmarks.__main__ import DEMO, DOCUMENT, FOLDER, insert

_NOTEBOOK = """
import json, sys, time
from phi_magic import Phi
phi = Phi(model=sys.argv[1], max_tokens=int(sys.argv[2]), cache=sys.argv[3])
begun = time.perf_counter()
replies = [phi(f"Write a haiku about number {n}", seed=n) for n in range(10)]
print(json.dumps([time.perf_counter() - begun, [reply.text for reply in replies]]))
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cache", description=__doc__)
    parser.add_argument("--small", action="store_true", help="with a model of two layers, one round")
    parser.add_argument("--rounds", type=int, default=3, help="how often both run, in turn (3)")
    parser.add_argument("--write", action="store_true", help="renew the table in docs/performance.md")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    if options.small:
        options.rounds, tokens = 1, 8
        model = FOLDER / "small.gguf"
        stand_in.write(DEMO, model, stand_in.SMALL)
    else:
        model, tokens = stand_in.full_size(FOLDER), 32
    loads = [os.getloadavg()[0]]
    text = "\n\n".join(
        [
            report.describe(report.machine(), [*loads, os.getloadavg()[0]], options.rounds),
            "\n".join(_rows(model, options.rounds, tokens)),
        ]
    )
    print(text)
    if options.write:
        insert(DOCUMENT, "cache", text)
    return 0


def _rows(model: Path, rounds: int, tokens: int) -> list[str]:
    anew: list[float] = []
    kept: list[float] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/answers.sqlite"
            seconds, texts = _run(model, tokens, path)
            anew.append(seconds)
            seconds, again = _run(model, tokens, path)
            kept.append(seconds)
            if texts != again:
                raise SystemExit("error: the kept answers are other ones")
    return [
        f"| ten questions of {tokens} tokens | seconds |",
        "| --- | ---: |",
        f"| again, the model loaded first | {median(anew):.3g} |",
        f"| from the cache | {median(kept):.3g} |",
        f"| ratio | {median(one / other for one, other in zip(anew, kept, strict=True)):,.0f} |",
    ]


def _run(model: Path, tokens: int, path: str) -> tuple[float, Sequence[str]]:
    command = [sys.executable, "-c", _NOTEBOOK, str(model), str(tokens), path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, texts = json.loads(done.stdout)
    return seconds, texts


if __name__ == "__main__":
    sys.exit(main())
