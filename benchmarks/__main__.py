"""``python -m benchmarks``: measure, print the tables, save the figures; ``make bench`` renews docs/performance.md too."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import report, stand_in
from benchmarks.contenders import CONTENDERS, PLANS, PROJECT, Contender, Unavailable
from benchmarks.plot import plot
from benchmarks.work import ANSWERS, Work

FOLDER = PROJECT / "build" / "benchmarks"
DOCUMENT = PROJECT / "docs" / "performance.md"
DEMO = PROJECT / "phi_magic" / "demo" / "phi-demo.gguf"


def main() -> int:
    options = _options()
    options.folder.mkdir(parents=True, exist_ok=True)
    known = PLANS if options.plans else CONTENDERS
    if unknown := set(options.contenders or known) - set(known):
        print(f"no contender is called {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    chosen = {name: one for name, one in known.items() if not options.contenders or name in options.contenders}
    if options.basic:
        chosen = {name: replace(one, extras=()) for name, one in chosen.items()}
    work = _work(options)
    results: dict[str, Any] = {}
    for results in measure(chosen, work, options.rounds, options.folder):
        (options.folder / options.save).write_text(json.dumps(results, indent=1) + "\n")
    text = show(results, plans=options.plans)
    print(text)
    if options.write:
        publish(results, text)
    return 0 if results.get("rounds") else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--contenders", nargs="+", metavar="NAME", help=f"some of: {', '.join(CONTENDERS)}")
    parser.add_argument("--plans", action="store_true", help="compare the ways to run our engine instead")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender runs, in turn (3)")
    parser.add_argument("--prefill", type=int, nargs="+", help="prompts' tokens (64 256 1024; with --plans 256)")
    parser.add_argument("--decode", type=int, nargs="+", help="where to decode (64 256 1024; with --plans 256)")
    parser.add_argument("--tokens", type=int, default=32, help="how many tokens to decode at each place (32)")
    parser.add_argument("--answers", type=int, default=ANSWERS, help=f"answers in one map ({ANSWERS})")
    parser.add_argument(
        "--limit", type=float, default=120, help="seconds a contender may measure in a round, about (120)"
    )
    parser.add_argument(
        "--basic", action="store_true", help="loading, prefill, decode and memory alone, no map, no turns"
    )
    parser.add_argument("--threads", type=int, default=0, help="for all; each chooses by itself where left out")
    parser.add_argument(
        "--small", action="store_true", help="a model of two layers, in seconds: that it all still works"
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where models, builds and figures are kept")
    parser.add_argument("--save", default="last.json", help="the figures' file in that folder (last.json)")
    parser.add_argument("--write", action="store_true", help="renew the tables and the plot in docs/")
    return parser.parse_args()


def _work(options: argparse.Namespace) -> Work:
    if options.small:
        model = options.folder / "small.gguf"
        stand_in.write(DEMO, model, stand_in.SMALL)
    else:
        model = stand_in.full_size(options.folder)
    lengths = (256,) if options.plans else report.LENGTHS
    return Work(
        model=str(model.resolve()),
        prefill=tuple(options.prefill or lengths),
        decode=tuple(options.decode or lengths),
        tokens=options.tokens,
        answers=options.answers,
        limit=options.limit,
        threads=options.threads,
    )


def measure(contenders: Mapping[str, Contender], work: Work, rounds: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Everyone's figures, round by round, each round one after another; and why somebody is not among them.

    Yields them after every step, since an hour is long enough for something to end it.
    """
    commands, missing = {}, {}
    for name, contender in contenders.items():
        try:
            commands[name] = contender.command(folder)
        except Unavailable as error:
            missing[name] = str(error)
    found: dict[str, list[Any]] = {}
    loads = [os.getloadavg()[0]]
    results = {"machine": report.machine(), "loads": loads, "rounds": found, "missing": missing}
    yield results
    for number in range(rounds):
        for name in list(commands):
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            try:
                warm(Path(work.model))
                figures = contenders[name].run(commands[name], work)
                found.setdefault(name, []).append(figures)
            except Unavailable as error:
                missing[name] = str(error)
                del commands[name]
            loads.append(os.getloadavg()[0])
            yield results


def warm(model: Path) -> None:
    """Have the system keep the file in its cache, as after a first use: disks differ, and what is measured is the load."""
    with model.open("rb") as file:
        while file.read(1 << 24):
            pass


def show(results: Mapping[str, Any], *, plans: bool = False) -> str:
    rounds = results["rounds"]
    count = max(map(len, rounds.values()), default=0)
    parts = [report.describe(results["machine"], results["loads"], count), report.table(rounds)]
    if not plans:
        parts += [report.others(rounds), report.goals(rounds)]
    parts += [f"{name} did not take part: {why}" for name, why in results["missing"].items()]
    return "\n\n".join(filter(None, parts))


def publish(results: Mapping[str, Any], text: str) -> None:
    """Renew docs/: the tables between their marks, the plot, and the figures that both are made of."""
    kind = "plans" if set(results["rounds"]) <= set(PLANS) else "contenders"
    insert(DOCUMENT, kind, text)
    (DOCUMENT.parent / f"performance-{kind}.json").write_text(json.dumps(results, indent=1) + "\n")
    if kind == "contenders":
        (DOCUMENT.parent / "performance.svg").write_text(plot(results["rounds"]))


def insert(document: Path, kind: str, text: str) -> None:
    """Put a text between its marks in a document, in place of the one there."""
    marks = f"<!-- {kind}: made by make bench -->", f"<!-- {kind}: end -->"
    pattern = re.escape(marks[0]) + ".*?" + re.escape(marks[1])
    renewed, count = re.subn(
        pattern, lambda _: f"{marks[0]}\n\n{text}\n\n{marks[1]}", document.read_text(), flags=re.DOTALL
    )
    if count != 1:
        raise ValueError(f"{document} has no place between {marks[0]} and {marks[1]}")
    document.write_text(renewed)


if __name__ == "__main__":
    sys.exit(main())
