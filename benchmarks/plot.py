"""A plot of bars as SVG: a panel for each measure, a bar for each contender."""

from __future__ import annotations

from html import escape

from benchmarks.report import DECODE, FIRST, PREFILL, RESIDENT, Rounds

_PANELS = [
    (PREFILL[256], "more is better"),
    (DECODE[256], "more is better"),
    (FIRST, "less is better"),
    (RESIDENT, "less is better"),
]
_WIDTH, _NAMES, _BAR, _GAP = 720, 150, 18, 6
_INK, _OURS, _THEIRS = "#1f2328", "#0969da", "#8c959f"


def plot(rounds: Rounds) -> str:
    """The medians, as an SVG document that can be read on light and dark pages."""
    parts, top = [], 16
    for measure, hint in _PANELS:
        values = {name: value for name, figures in rounds.items() if (value := measure.median(figures))}
        if not values:
            continue
        parts.append(_text(8, top + 12, f"{measure.title} ({hint})", weight="600"))
        top += 24
        longest = max(values.values())
        for name, value in values.items():
            length = (_WIDTH - _NAMES - 80) * value / longest
            colour = _OURS if name == "phi_magic" else _THEIRS
            parts.append(_text(_NAMES - 8, top + 13, name, anchor="end"))
            parts.append(f'<rect x="{_NAMES}" y="{top}" width="{length:.1f}" height="{_BAR}" fill="{colour}"/>')
            parts.append(_text(_NAMES + length + 6, top + 13, f"{value:.3g}"))
            top += _BAR + _GAP
        top += 16
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" width="{_WIDTH}" height="{top}" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{_INK}">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "400") -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'
