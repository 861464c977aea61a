"""From figures to tables: medians, ratios, and whether the goals are met."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.work import ANSWERS, WIDTHS

Figures = Mapping[str, Any]
Rounds = Mapping[str, list[Figures]]  #: contender's name to what it measured, round by round

LENGTHS = (64, 256, 1024)


@dataclass(frozen=True)
class Measure:
    """A figure of a contender: where in its figures it stands, and how it is shown."""

    title: str
    path: tuple[str, ...]
    scale: float = 1
    form: str = ".3g"

    def of(self, figures: Figures) -> float | None:
        found: Any = figures
        for key in self.path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return None if found is None else float(found) * self.scale

    def median(self, rounds: Iterable[Figures]) -> float | None:
        values = [value for value in map(self.of, rounds) if value]
        return median(values) if values else None

    def show(self, rounds: Iterable[Figures]) -> str:
        value = self.median(rounds)
        return "" if value is None else format(value, self.form)


FIRST = Measure("load to first token, s", ("first_token",))
PREFILL = {n: Measure(f"prefill of {n:,}, tokens/s", ("prefill", str(n))) for n in LENGTHS}
DECODE = {n: Measure(f"decode at {n:,}, tokens/s", ("decode", str(n))) for n in LENGTHS}
RESIDENT = Measure("resident, GB", ("resident",), 1e-9)
PEAK = Measure("peak, GB", ("peak",), 1e-9)
MEASURES = [FIRST, *PREFILL.values(), *DECODE.values(), RESIDENT, PEAK]
MAP = Measure("map of 32, tokens/s", ("map", "map"))
TURN = Measure("second turn, first token, s", ("second turn", "first_token"))
NEW = Measure("of it what is new, s", ("second turn", "new"))
STREAMED = Measure("%%phi in a kernel, tokens/s", ("streamed",))
TOLD = Measure("the same with --top-logprobs 5, tokens/s", ("told",))
BARE = Measure("the bare loop in it, tokens/s", ("bare",))


@dataclass(frozen=True)
class Goal:
    text: str
    wanted: float
    measured: Callable[[Any], list[float]]  #: the ratio in each round
    at_most: bool = False

    def row(self, rounds: Mapping[str, Any]) -> str:
        values = self.measured(rounds)
        if not values:
            return f"| {self.text} | {self._bound} | not measured | | |"
        value = median(values)
        met = value <= self.wanted if self.at_most else value >= self.wanted
        spread = f"{min(values):.3g} to {max(values):.3g}" if len(values) > 1 else ""
        return f"| {self.text} | {self._bound} | {value:.3g} | {spread} | {'met' if met else '**missed**'} |"

    @property
    def _bound(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.wanted:g}"


def _against(other: str, measure: Measure) -> Callable[[Rounds], list[float]]:
    """Ours to another's, within each round, since what disturbs a round disturbs both."""

    def ratios(rounds: Rounds) -> list[float]:
        pairs = zip(rounds.get("phi_magic", []), rounds.get(other, []))  # noqa: B905 (a last round may be cut short)
        values = [(measure.of(ours), measure.of(theirs)) for ours, theirs in pairs]
        return [one / two for one, two in values if one and two]

    return ratios


def _map_ratios(rounds: Rounds) -> list[float]:
    found = [figures["map"] for figures in rounds.get("phi_magic", []) if "map" in figures]
    return [one["map"] / max(rate for width, rate in one["passes"].items() if int(width) <= ANSWERS) for one in found]


def _turn_ratios(rounds: Rounds) -> list[float]:
    pairs = [(TURN.of(figures), NEW.of(figures)) for figures in rounds.get("phi_magic", [])]
    return [turn / new for turn, new in pairs if turn and new]


def _costs(ratio: str) -> Callable[[Rounds], list[float]]:
    return lambda rounds: [1 - figures[ratio] for figures in rounds.get("kernel", [])]


GOALS = [
    *(Goal(f"prefill of {n:,}, of `Llama`'s", 1.5, _against("Llama", PREFILL[n])) for n in LENGTHS),
    *(Goal(f"decode at {n:,}, of `Llama`'s", 1.0, _against("Llama", DECODE[n])) for n in (256, 1024)),
    Goal("resident, of `Llama`'s", 0.6, _against("Llama", RESIDENT), at_most=True),
    Goal("load to first token, of `Llama`'s", 0.2, _against("Llama", FIRST), at_most=True),
    Goal("map of 32, of the best bare passes", 0.9, _map_ratios),
    Goal("second turn's first token, of what is new", 1.3, _turn_ratios, at_most=True),
    Goal("streaming into a notebook, of decode", 0.02, _costs("ratio"), at_most=True),
    Goal("five alternatives to each token, of decode", 0.03, _costs("telling"), at_most=True),
    Goal("prefill of 256, of native Candle's", 3, _against("Candle, native", PREFILL[256])),
    Goal("decode at 256, of native Candle's", 1.2, _against("Candle, native", DECODE[256])),
    Goal("prefill of 64, of the tutorial's build", 20, _against("Candle 0.6", PREFILL[64])),
    Goal("decode at 64, of the tutorial's build", 5, _against("Candle 0.6", DECODE[64])),
]


def table(rounds: Rounds) -> str:
    """Medians, a column for each contender that has any of the measures."""
    measured = {name: figures for name, figures in rounds.items() if any(m.median(figures) for m in MEASURES[:-2])}
    rows = [["", *measured], ["---", *["---:"] * len(measured)]]
    for measure in MEASURES:
        cells = [measure.show(figures) for figures in measured.values()]
        if any(cells):
            rows.append([measure.title, *cells])
    return _lines(rows)


def others(rounds: Rounds) -> str:
    """What has no other contender to stand beside."""
    passes = [Measure(f"bare passes, {n} wide, tokens/s", ("map", "passes", str(n))) for n in WIDTHS]
    ours, kernel = rounds.get("phi_magic", []), rounds.get("kernel", [])
    rows = [["", "median"], ["---", "---:"]]
    rows += [[measure.title, measure.show(ours)] for measure in (MAP, *passes, TURN, NEW)]
    rows += [[measure.title, measure.show(kernel)] for measure in (STREAMED, TOLD, BARE)]
    return _lines(row for row in rows if row[1]) if any(row[1] for row in rows[2:]) else ""


def goals(rounds: Mapping[Any, Any], wanted: Sequence[Goal] = GOALS) -> str:
    """What was wanted, and whether it was reached; a goal reads its ratios from ``rounds``."""
    head = ["| goal | wanted | median | rounds | |", "| --- | ---: | ---: | ---: | --- |"]
    return "\n".join([*head, *(goal.row(rounds) for goal in wanted)])


def _lines(rows: Iterable[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def machine() -> dict[str, Any]:
    """What the figures hold for."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in info.splitlines())}
    extensions = [
        name for name in ("avx2", "avx512f", "avx512_vnni", "amx_tile") if name in fields.get("flags", "").split()
    ]
    return {
        "processor": fields.get("model name") or platform.processor() or platform.machine(),
        "family": "/".join(fields.get(key, "?") for key in ("cpu family", "model")),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "extensions": extensions,
        "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "llama-cpp-python": version("llama-cpp-python"),
    }


def describe(machine: Mapping[str, Any], loads: list[float], rounds: int) -> str:
    """One paragraph; ``loads`` are the load averages that the run saw."""
    return (
        f"{machine['processor']} (family/model {machine['family']}), {machine['cores']} cores, "
        f"{', '.join(machine['extensions']) or 'no vector extensions known'}, {machine['memory'] / 2**30:.0f} GiB; "
        f"{machine['system']}, Python {machine['python']}, llama-cpp-python {machine['llama-cpp-python']}. "
        f"Medians of {rounds} round{'s' * (rounds != 1)}; load average {min(loads):.1f} to {max(loads):.1f} "
        "(a machine with nothing else to do shows about as many as it has cores)."
    )
