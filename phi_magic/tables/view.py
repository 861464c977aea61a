"""A map while it runs, as display data: a bar, its figures, and the first finished rows."""

from __future__ import annotations

from collections.abc import Sequence

from ..rendering import escape
from ..rendering.markdown import to_cell
from ..rendering.table import Table
from .rows import is_missing

_CELLS = 20  # characters of the bar in plain text
_TEXT = 200  # characters of a value that a preview shows


def bundle(line: str, preview: Table | None, *, fraction: float | None = None) -> dict[str, str]:
    """Display data: Markdown and plain text; with a bar HTML.

    Args:
        line: the figures.
        preview: the first finished rows; None while there are none.
        fraction: how much is done, from 0 to 1, as a bar; None leaves the bar out.
    """
    if fraction is None:
        rich, said = to_cell(line), line
    else:
        html, said = _with_bar(fraction, line)
        rich = f"<div>{html}</div>"
    plain = said
    if preview is not None:
        rich += preview.to_html() if fraction is not None else f"\n\n{preview.to_markdown()}"
        plain = f"{said}\n\n{preview.to_plain()}"
    return {"text/markdown" if fraction is None else "text/html": rich, "text/plain": plain}


def preview(headers: Sequence[object], rows: Sequence[Sequence[object]]) -> Table:
    """A table of values, the long ones shortened."""
    return Table([str(header) for header in headers], [[_shortened(value) for value in row] for row in rows])


def _with_bar(fraction: float, line: str) -> tuple[str, str]:
    filled = int(_CELLS * fraction)
    bar = f'<progress value="{fraction:.4f}" max="1" style="width: 16em"></progress>'
    return (
        f"{bar} {fraction:.0%} · {escape(line)}",
        f"[{'#' * filled}{'-' * (_CELLS - filled)}] {fraction:.0%} · {line}",
    )


def _shortened(value: object) -> str:
    text = "" if is_missing(value) else f"{value:.3g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 1]}…"
