"""The likeliest next tokens through the stages of sampling, as a table with bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import anywidget
import numpy as np
import traitlets
from numpy.typing import NDArray

from ..position import Position
from ..rendering.shades import chance
from ..rendering.token_shading import kind, percent, shown
from ..reply import Alternative
from ..sampling import CUTTING, Stages, likeliest
from ..settings import label
from .front_end import front_end

_LIKELIEST = 12
_PENALTY = 1  # the place of "after penalty" among the stages
STAGES = {
    "raw": "The softmax of the model's logits as they are",
    "after penalty": "The logits of tokens in the recent answer divided by the repeat penalty where positive, else multiplied",
    "after temperature": "The logits divided by the temperature, then the softmax",
    f"after {', '.join(map(label, CUTTING[1:]))}": "What these leave, divided by its sum: the next token is drawn from this",
}
_BITS = (
    "Entropy: how many yes-or-no questions it takes on average to find out the next token. 0: only one token can come."
)
_CHOICES = "Perplexity, which is 2 to the power of the bits: as uncertain as a fair draw among this many tokens."
_BAR = "86, 180, 233"
_TAIL = "213, 94, 0"  # of all the tokens that have no row


class Bars(anywidget.AnyWidget):
    """Draws ``view``; sends ``{"take": token id}`` and ``{"go": step}``."""

    _esm = front_end("make.js", "bars.js")
    _css = front_end("bars.css")
    view: Any = traitlets.Dict().tag(sync=True)
    busy = traitlets.Bool(False).tag(sync=True)


@dataclass(frozen=True)
class Row:
    """One token's probabilities through the stages; ``cut`` names the parameter that cut it, or nothing."""

    id: int
    text: str
    chances: tuple[float, ...]
    cut: str


@dataclass(frozen=True)
class Figures:
    """Figures of one stage: how many tokens have a probability, the entropy in bits, and the effective number of
    choices.
    """

    tokens: int
    entropy: float
    choices: float


def columns(stages: Stages) -> dict[str, NDArray[np.float64]]:
    """The stages by name, in their order; without the penalty's where it changes nothing."""
    found = dict(zip(STAGES, (stages.raw, stages.penalised, stages.tempered, stages.kept), strict=True))
    if np.array_equal(stages.raw, stages.penalised):
        del found[list(STAGES)[_PENALTY]]
    return found


def rows(position: Position, stages: Stages, taken: int | None = None) -> list[Row]:
    """The likeliest tokens of the raw logits in their order, then those that the parameters made likeliest."""
    order = [int(token) for token in likeliest(stages.raw, _LIKELIEST)]
    order += [int(token) for token in likeliest(stages.kept, _LIKELIEST // 3) if stages.kept[token]]
    order += [taken] if taken is not None else []
    return [
        Row(
            token,
            position.names[token],
            tuple(float(p[token]) for p in columns(stages).values()),
            CUTTING[stages.cut[token]].replace("_", "-") if stages.cut[token] >= 0 else "",
        )
        for token in dict.fromkeys(order)
    ]


def tail(stages: Stages, shown_rows: Sequence[Row]) -> list[float]:
    """The probability of all tokens that have no row, stage by stage."""
    with_row = np.zeros(len(stages.raw), dtype=bool)
    with_row[[row.id for row in shown_rows]] = True
    return [float(p[~with_row].sum()) for p in columns(stages).values()]


def figures(p: NDArray[np.float64]) -> Figures:
    r"""Entropy :math:`H = -\sum p \log_2 p` and the effective number of choices :math:`2^H` (the perplexity)."""
    some = p[p > 0]
    entropy = float(-(some * np.log2(some)).sum())
    return Figures(len(some), max(0.0, entropy), float(2**entropy))


def mass(stages: Stages) -> float:
    """Return the probability, after penalty and temperature, of the tokens that the truncation kept."""
    return float(stages.tempered[stages.kept > 0].sum())


def cuts(stages: Stages) -> dict[str, int]:
    """How many tokens each parameter cut."""
    counts = np.bincount(stages.cut[stages.cut >= 0], minlength=len(CUTTING))
    return {name.replace("_", "-"): int(count) for name, count in zip(CUTTING, counts, strict=True) if count}


def view(position: Position, stages: Stages, path: Sequence[Alternative], taken: int | None) -> dict[str, Any]:
    """What ``bars.js`` draws.

    A bar is as wide as its probability, the whole cell being 1. So a column's scale never depends on the others, nor on
    the step, and two explorers can be compared.
    """
    shown_rows = rows(position, stages, taken)
    return {
        "at": len(position.generated),
        "path": [
            {"text": shown(token.text), "kind": kind(token.text), "number": percent(chance(token.logprob))}
            for token in path
        ],
        "heads": [
            {"title": name, "help": STAGES[name], "notes": list(zip(_notes(p), (_BITS, _CHOICES), strict=True))}
            for name, p in columns(stages).items()
        ],
        "rows": [
            {
                "id": row.id,
                "text": shown(row.text),
                "kind": kind(row.text),
                "cut": row.cut,
                "taken": row.id == taken,
                "bars": _bars(row.chances, row.cut),
            }
            for row in shown_rows
        ],
        "tail": {"text": _others(stages, shown_rows), "bars": _bars(tail(stages, shown_rows))},
        "left": _left(stages),
    }


def table(position: Position, stages: Stages, taken: int | None) -> dict[str, str]:
    """The same for a page without a kernel, with bars that need no script and no style sheet."""
    shown_rows = rows(position, stages, taken)
    lines = [(shown(row.text) + " ◂" * (row.id == taken), _bars(row.chances, row.cut), _BAR) for row in shown_rows]
    lines += [(_others(stages, shown_rows), _bars(tail(stages, shown_rows)), _TAIL)]
    heads = [f"{name}: {', '.join(_notes(p))}" for name, p in columns(stages).items()]
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in ("next token", *heads))
    body = "".join(
        f'<tr><th scope="row" align="left">{escape(name)}</th>{"".join(_cell(*bar, color) for bar in bars)}</tr>'
        for name, bars, color in lines
    )
    left = f"mass left: {_left(stages)}"
    words = [["next token", *columns(stages)], *([name, *(text for _, text in bars)] for name, bars, _ in lines)]
    return {
        "text/html": f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{escape(left)}</p>",
        "text/plain": "\n".join([*("  ".join(f"{word:<18}" for word in line).rstrip() for line in words), left]),
    }


def _bars(chances: Sequence[float], cut: str = "") -> list[tuple[float, str]]:
    """The width in percent and the text of each stage's bar."""
    texts = [f"{percent(p if p > 1e-12 else 0)} %" for p in chances]
    return list(
        zip((round(100 * p, 2) for p in chances), [*texts[:-1], f"cut by {cut}" if cut else texts[-1]], strict=True)
    )


def _cell(width: float, text: str, color: str) -> str:
    bar = f"width: {width}%; height: 8px; min-width: 1px; background-color: rgb({color})"
    return f'<td align="left" style="min-width: 8em"><div style="{bar}"></div>{escape(text)}</td>'


def _notes(p: NDArray[np.float64]) -> tuple[str, str]:
    found = figures(p)
    choices = f"{found.choices:.1f}" if found.choices < 99.95 else f"{found.choices:,.0f}"
    return f"{found.entropy:.2f} bits", f"{choices} choices"


def _others(stages: Stages, shown_rows: Sequence[Row]) -> str:
    return f"{len(stages.raw) - len(shown_rows):,} others"


def _left(stages: Stages) -> str:
    found = figures(stages.kept)
    told = ", ".join(f"{count:,} by {name}" for name, count in cuts(stages).items())
    return f"{percent(mass(stages))} % on {found.tokens:,} token{'s' * (found.tokens != 1)}" + (
        f"; cut: {told}" if told else ""
    )
