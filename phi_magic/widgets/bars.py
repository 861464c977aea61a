"""The likeliest next tokens through the stages of sampling, as the explorer shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..generation.position import Position
from ..rendering.token_shading import kind, percent, shown
from ..sampling import CUTTING, Stages

_LIKELIEST = 12
STAGES = ("raw", "after penalty", "after temperature", "after top-p, top-k, min-p")


@dataclass(frozen=True)
class Row:
    """One token's probabilities through the stages; ``cut`` names the knob that cut it, or nothing."""

    id: int
    text: str
    chances: tuple[float, float, float, float]
    cut: str


@dataclass(frozen=True)
class Figures:
    """Of one stage: how many tokens can still come, the entropy in bits, and as how many equal choices that is."""

    tokens: int
    entropy: float
    choices: float


def rows(position: Position, stages: Stages, taken: int | None = None) -> list[Row]:
    """The likeliest tokens of the raw logits in their order, with what the knobs brought among the likeliest."""
    order = [int(token) for token in _likeliest(stages.raw, _LIKELIEST)]
    more = [int(token) for token in _likeliest(stages.kept, _LIKELIEST // 3) if stages.kept[token]]
    order += [token for token in [*more, *([taken] if taken is not None else [])] if token not in order]
    return [
        Row(
            token,
            position.names[token],
            tuple(float(p[token]) for p in columns(stages)),  # type: ignore[arg-type]
            CUTTING[stages.cut[token]].replace("_", "-") if stages.cut[token] >= 0 else "",
        )
        for token in dict.fromkeys(order)
    ]


def columns(stages: Stages) -> tuple[NDArray[np.float64], ...]:
    return stages.raw, stages.penalised, stages.tempered, stages.kept


def figures(p: NDArray[np.float64]) -> Figures:
    r"""Entropy :math:`H = -\sum p \log_2 p` and the effective number of choices :math:`2^H` (the perplexity)."""
    some = p[p > 0]
    entropy = float(-(some * np.log2(some)).sum())
    return Figures(len(some), max(0.0, entropy), float(2**entropy))


def mass(stages: Stages) -> float:
    """How much of the probability, after penalty and temperature, the cuts left."""
    return float(stages.tempered[stages.kept > 0].sum())


def cuts(stages: Stages) -> dict[str, int]:
    """How many tokens each knob cut."""
    counts = np.bincount(stages.cut[stages.cut >= 0], minlength=len(CUTTING))
    return {name.replace("_", "-"): int(count) for name, count in zip(CUTTING, counts, strict=True) if count}


def view(position: Position, stages: Stages, path: Sequence[int], taken: int | None) -> dict[str, Any]:
    """What ``bars.js`` draws."""
    shown_rows = rows(position, stages, taken)
    tallest = max(max(row.chances) for row in shown_rows)
    return {
        "at": len(position.generated),
        "path": [{"text": shown(position.names[token]), "kind": kind(position.names[token])} for token in path],
        "heads": [["next token", ""], *zip(STAGES, _notes(stages), strict=True)],
        "rows": [
            {
                "id": row.id,
                "text": shown(row.text),
                "kind": kind(row.text),
                "cut": row.cut,
                "taken": row.id == taken,
                "bars": [
                    [round(100 * p / tallest, 2), number] for p, number in zip(row.chances, _numbers(row), strict=True)
                ],
            }
            for row in shown_rows
        ],
        "rest": [_rest(stages, shown_rows), ["mass left", "", "", "", _left(stages)]],
    }


def table(position: Position, stages: Stages, taken: int | None) -> dict[str, str]:
    """The same for a page without a kernel."""
    shown_rows = rows(position, stages, taken)
    lines = [[shown(row.text) + " ◂" * (row.id == taken), *_numbers(row)] for row in shown_rows]
    lines += [_rest(stages, shown_rows), ["mass left", "", "", "", _left(stages)]]
    heads = ["next token", *(f"{name}: {note}" for name, note in zip(STAGES, _notes(stages), strict=True))]
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in line) + "</tr>" for line in lines)
    text = "\n".join("  ".join(f"{word:<18}" for word in line).rstrip() for line in [["next token", *STAGES], *lines])
    html = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return {"text/html": html, "text/plain": text}


def _likeliest(p: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    some = np.argpartition(-p, count)[:count] if count < len(p) else np.arange(len(p))
    return some[np.lexsort((some, -p[some]))]


def _numbers(row: Row) -> list[str]:
    *before, last = row.chances
    return [*(f"{percent(p)} %" for p in before), f"cut by {row.cut}" if row.cut else f"{percent(last)} %"]


def _notes(stages: Stages) -> list[str]:
    return [f"{found.entropy:.2f} bits, {_count(found.choices)} choices" for found in map(figures, columns(stages))]


def _count(choices: float) -> str:
    return f"{choices:.1f}" if choices < 99.95 else f"{choices:,.0f}"


def _rest(stages: Stages, shown_rows: Sequence[Row]) -> list[str]:
    ids = [row.id for row in shown_rows]
    others = [p.sum() - p[ids].sum() for p in columns(stages)]
    return [
        f"{len(stages.raw) - len(ids):,} others",
        *(f"{percent(max(0.0, float(p))) if p > 1e-12 else 0} %" for p in others),
    ]


def _left(stages: Stages) -> str:
    found = figures(stages.kept)
    told = ", ".join(f"{count:,} by {name}" for name, count in cuts(stages).items())
    return f"{percent(mass(stages))} % on {found.tokens:,} token{'s' * (found.tokens != 1)}" + (
        f"; cut: {told}" if told else ""
    )
