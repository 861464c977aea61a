"""Rows of a table: ``python -m benchmarks.tables``. Many short prompts, rows with choices, and the memory of a long map.

Each is done by this tree, by the commit before short prompts shared passes, and by llama-server, in turn. The model is the
stand-in of full size. A commit and a server that are not there are left out (a source tree without git's history has no
other commit; ``make llama-server`` builds the server).
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks import report, stand_in
from benchmarks.__main__ import DEMO, DOCUMENT, FOLDER, insert, warm
from benchmarks.contenders import PROJECT
from benchmarks.report import Goal, Measure
from phi_magic.machine import physical_cores

BEFORE = "f559907"  #: the last commit that evaluated one prompt after another
_SERVER = PROJECT / "build" / "llama-server" / "cmake" / "bin" / "llama-server"
_SLOTS = 32
_CHOICES = ("good", "bad", "mixed")  # of one token each, as labels mostly are
_INSTRUCTION = "Read what a guest wrote about a restaurant. Say in one word whether the evening was good, bad or mixed."
_WORDS = (
    "the soup fish bread wine service table music light price room garden was good late warm cold and very not".split()
)
_NOUNS = (
    "ice snow tea rain bees cats trains night music bread wine fish light stone sand wood gold milk salt silk".split()
)

_ASK = """
import json, sys, time
import phi_magic
from phi_magic import Phi
work = json.load(sys.stdin)
assert phi_magic.__file__.startswith(work["tree"]), phi_magic.__file__
phi = Phi(model=work["model"], seed=1)
phi("x", max_tokens=1)
started = time.perf_counter()
replies = phi.map(work["prompts"], progress=False, **work["options"])
seconds = time.perf_counter() - started
usages = [reply.usage for reply in replies]
counts = {name: sum(getattr(usage, name) for usage in usages) for name in ("prompt_tokens", "completion_tokens")}
print(json.dumps({"seconds": seconds, **counts}))
"""

#: The greatest memory of kernel and worker together while a map runs, after a first map of the same length.
_HOLD = """
import json, re, sys
from pathlib import Path
from phi_magic import Phi
from phi_magic.generation.worker import shared
def pss():
    files = [Path(f"/proc/{process}/smaps_rollup").read_text() for process in ("self", shared.pid)]
    return sum(1024 * int(re.search(r"^Pss: +(\\d+)", text, re.M)[1]) for text in files)
phi = Phi(model=sys.argv[1], seed=1, max_tokens=4)
found = {}
for rows in [int(sys.argv[2]), *map(int, sys.argv[2:])]:
    stream = phi.stream_all([(f"Write a line about number {number}", {}) for number in range(rows)])
    found[rows] = max(pss() for at, _ in enumerate(stream) if at % 200 == 0)
print(json.dumps(found))
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("--small", action="store_true", help="with a model of two layers, few rows, one round")
    parser.add_argument("--rounds", type=int, default=2, help="how often each runs, in turn (2)")
    parser.add_argument("--rows", type=int, default=120, help="rows with choices (120)")
    parser.add_argument("--write", action="store_true", help="renew the table in docs/performance.md")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    if options.small:
        options.rounds, options.rows, tokens, lengths = 1, 9, 4, (30, 90)
        model = FOLDER / "small.gguf"
        stand_in.write(DEMO, model, stand_in.SMALL)
    else:
        model, tokens, lengths = stand_in.full_size(FOLDER), 32, (300, 3000)
        warm(model)
    loads = [os.getloadavg()[0]]
    works = {
        "short": TableWork(_short(), {"max_tokens": tokens}, {"max_tokens": tokens}),
        "rows": TableWork(_rows(options.rows), {"choices": _CHOICES}, {"max_tokens": 1}),
    }
    rounds = measure(model, works, options.rounds)
    memory = _memory(lengths)
    loads.append(os.getloadavg()[0])
    results = {"rounds": rounds, "memory": [{str(rows): held for rows, held in memory.items()}] if memory else []}
    text = "\n\n".join([report.describe(report.machine(), loads, options.rounds), *show(results, works, lengths)])
    print(text)
    if options.write:
        insert(DOCUMENT, "tables", text)
    return 0


@dataclass(frozen=True)
class TableWork:
    """Prompts and options; programs that know no choices are given ``other`` options."""

    prompts: Sequence[str]
    options: Mapping[str, Any]
    other: Mapping[str, Any]


def _short() -> list[str]:
    """Thirty-two prompts of 12 tokens in Phi-3's template, the last of their words different."""
    return [
        f"Say a few words on {noun} and {other}" for noun, other in zip(_NOUNS[:16] * 2, _NOUNS[4:] * 2, strict=True)
    ]


def _rows(count: int) -> list[str]:
    """Rows of about 60 tokens in Phi-3's template: instructions first, then 30 to 37 words of a row."""
    return [
        " ".join(
            [_INSTRUCTION, *(_WORDS[(7 * number + step * place) % len(_WORDS)] for place in range(30 + number % 8))]
        )
        for number, step in zip(range(count), itertools.cycle([3, 7, 9, 11, 13]), strict=False)
    ]


def measure(model: Path, works: Mapping[str, TableWork], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """What each contender took for each work, round by round."""
    found: dict[str, list[dict[str, Any]]] = {}
    before = _tree(BEFORE)
    for number in range(rounds):
        for name, tree in {"phi_magic": PROJECT, "before": before}.items():
            if tree:
                print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
                took = {
                    title: _ask(tree, model, work.prompts, work.other if name == "before" else work.options)
                    for title, work in works.items()
                }
                found.setdefault(name, []).append(took)
        if _SERVER.exists():
            print(f"round {number + 1} of {rounds}: llama-server", file=sys.stderr, flush=True)
            with _server(model) as url:
                took = {title: _post_all(url, work) for title, work in works.items()}
            found.setdefault("llama-server", []).append(took)
    return found


def _tree(commit: str) -> Path | None:
    """A folder with the files of another commit; None where git does not have it."""
    folder = FOLDER / commit
    if not (folder / "phi_magic").is_dir():
        git = shutil.which("git")
        command = [git or "", "archive", commit, "phi_magic"]
        archive = subprocess.run(command, cwd=PROJECT, capture_output=True, check=False) if git else None
        if archive is None or archive.returncode:
            return None
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")
    return folder


def _ask(tree: Path, model: Path, prompts: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """What the package in a folder takes for a map, in a process of its own."""
    work = {"tree": str(tree), "model": str(model.resolve()), "prompts": prompts, "options": options}
    figures: dict[str, Any] = json.loads(_python(_ASK, given=json.dumps(work), tree=tree))
    return _rates(figures, len(prompts))


def _python(code: str, *arguments: str, given: str = "", tree: Path = PROJECT) -> str:
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, input=given, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def _rates(figures: dict[str, Any], rows: int) -> dict[str, Any]:
    seconds = figures["seconds"]
    return figures | {"rows/s": rows / seconds, "tokens/s": figures["completion_tokens"] / seconds}


@contextmanager
def _server(model: Path) -> Iterator[str]:
    """A llama-server with a slot for each of 32 requests, which answers until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [
        str(_SERVER),
        "-m",
        str(model),
        "--parallel",
        str(_SLOTS),
        "-c",
        str(256 * _SLOTS),
        "-t",
        str(physical_cores()),
        "--port",
        str(port),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not _healthy(url):
                if process.poll() is not None:
                    raise RuntimeError("llama-server has ended")
                time.sleep(0.2)
            yield url
        finally:
            process.kill()


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).is_success
    except httpx.HTTPError:
        return False


def _post_all(url: str, work: TableWork) -> dict[str, Any]:
    """What a server takes for all prompts of a work, with as many requests at a time as it has slots."""

    def post(prompt: str) -> Any:
        body = {
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": work.other["max_tokens"],
            "temperature": 0.8,
            "seed": 1,
        }
        return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=None).raise_for_status().json()["usage"]  # noqa: S113

    post("x")
    started = time.perf_counter()
    with ThreadPoolExecutor(_SLOTS) as pool:
        usages = list(pool.map(post, work.prompts))
    seconds = time.perf_counter() - started
    counts = {name: sum(usage[name] for usage in usages) for name in ("prompt_tokens", "completion_tokens")}
    return _rates({"seconds": seconds, **counts}, len(work.prompts))


def _memory(lengths: Sequence[int]) -> dict[int, int]:
    """Bytes of kernel and worker with the shipped model, by the rows of a map; empty where the system does not tell."""
    if not Path("/proc/self/smaps_rollup").exists():
        return {}
    found = json.loads(_python(_HOLD, str(DEMO), *map(str, lengths)))
    return {rows: found[str(rows)] for rows in lengths}


def _against(other: str, *path: str) -> Any:
    """Ours to another's, within each round."""
    measure = Measure("", path)

    def ratios(results: Mapping[str, Any]) -> list[float]:
        ours, theirs = (results["rounds"].get(name, []) for name in ("phi_magic", other))
        pairs = [(measure.of(one), measure.of(two)) for one, two in zip(ours, theirs, strict=False)]
        return [one / two for one, two in pairs if one and two]

    return ratios


def _growth(results: Mapping[str, Any]) -> list[float]:
    return [list(held.values())[-1] / next(iter(held.values())) for held in results["memory"]]


GOALS = [
    Goal("32 short prompts, 32 tokens of answer, of the commit before", 1.4, _against("before", "short", "tokens/s")),
    Goal("rows with three choices, of rows with one token before", 1.3, _against("before", "rows", "rows/s")),
    Goal("32 short prompts, of llama-server's", 1.0, _against("llama-server", "short", "tokens/s")),
    Goal(
        "rows with three choices, of rows with one token from llama-server",
        1.0,
        _against("llama-server", "rows", "rows/s"),
    ),
    Goal("memory of ten times as many rows, of the memory before", 1.1, _growth, at_most=True),
]


def show(results: Mapping[str, Any], works: Mapping[str, TableWork], lengths: Sequence[int]) -> list[str]:
    """The tables: what was measured, and the goals."""
    rounds = results["rounds"]
    first = rounds["phi_magic"][0]
    tokens = {name: round(first[name]["prompt_tokens"] / len(work.prompts)) for name, work in works.items()}
    measures = [
        Measure(f"32 prompts of {tokens['short']} tokens, tokens/s of answers", ("short", "tokens/s")),
        Measure(f"{len(works['rows'].prompts)} rows of {tokens['rows']} tokens, rows/s", ("rows", "rows/s")),
    ]
    titles = {"phi_magic": "phi_magic", "before": f"before ({BEFORE})", "llama-server": f"llama-server, {_SLOTS} slots"}
    there = [name for name in titles if name in rounds]
    lines = ["| | " + " | ".join(titles[name] for name in there) + " |", "| --- |" + " ---: |" * len(there)]
    lines += [f"| {one.title} | " + " | ".join(one.show(rounds[name]) for name in there) + " |" for one in measures]
    if held := {int(rows): size for one in results["memory"] for rows, size in one.items()}:
        few, many = lengths
        each = (held[many] - held[few]) / (many - few)
        memory = {f"of {rows:,} rows, MB": held[rows] / 1e6 for rows in lengths} | {
            "of each further row, kB": each / 1e3
        }
        rest = " |" * (len(there) - 1)
        lines += [f"| kernel and worker, shipped model, {what} | {value:.1f} |{rest}" for what, value in memory.items()]
    return ["\n".join(lines), report.goals(results, GOALS)]


if __name__ == "__main__":
    sys.exit(main())
