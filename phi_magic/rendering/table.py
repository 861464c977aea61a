"""A table of texts, for a page and for a terminal.

prettytable 3.18 was tried: to fit a width it narrows every column in proportion, so a model's name breaks within a word
beside a long text. Here only the widest columns are wrapped.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from . import escape, to_text
from .markdown import to_cell

_STYLE = "text-align: left; vertical-align: top; white-space: pre-wrap; overflow-wrap: break-word; padding: 0.3em 0.8em"
_WIDTH = 110  # characters that the columns of a plain table may take together
_NARROWEST = 24  # characters that a column of text keeps


@dataclass(frozen=True)
class Table:
    """Rows of texts below their headers. The texts are shown safely, whatever they hold; see :mod:`.rendering`."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    def bundle(self, *, whole: bool = True) -> dict[str, str]:
        """Display data: Markdown and plain text; while the table grows HTML, which front ends redraw at once."""
        rich = {"text/markdown": self.to_markdown()} if whole else {"text/html": self.to_html()}
        return {**rich, "text/plain": self.to_plain()}

    def to_markdown(self) -> str:
        rows = [f"| {' | '.join(map(to_cell, row))} |" for row in (self.headers, *self.rows)]
        rows.insert(1, "|" + " :-- |" * len(self.headers))
        return "\n".join(rows) + (f"\n\n{to_cell(self.caption)}" if self.caption else "") + "\n"

    def to_html(self) -> str:
        head = "".join(f'<th style="{_STYLE}">{escape(text)}</th>' for text in self.headers)
        rows = (
            "<tr>" + "".join(f'<td style="{_STYLE}">{escape(text)}</td>' for text in row) + "</tr>" for row in self.rows
        )
        caption = f'<div style="opacity: 0.65; font-size: 0.9em">{escape(self.caption)}</div>' if self.caption else ""
        body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
        return f'<table style="margin-left: 0">{body}</table>{caption}'

    def to_plain(self) -> str:
        """Columns as wide as their texts, which are wrapped; the headers underlined."""
        texts = [[to_text(text).expandtabs(4) for text in row] for row in (self.headers, *self.rows)]
        widths = _widths([max(_longest(row[column]) for row in texts) for column in range(len(self.headers))])
        grid = [[_wrapped(text, width) for text, width in zip(row, widths, strict=True)] for row in texts]
        shown = [_lines(row, widths) for row in grid]
        rule = "  ".join("─" * width for width in widths)
        # Where a text takes several lines, an empty one keeps the rows apart.
        apart = "\n\n" if any("\n" in row for row in shown[1:]) else "\n"
        return "\n".join([shown[0], rule, apart.join(shown[1:]), *([self.caption] if self.caption else [])])


def _longest(text: str) -> int:
    return max(map(len, text.split("\n")))


def _widths(wanted: list[int]) -> list[int]:
    """Return the columns' natural widths, with the widest ones reduced until all fit."""
    while sum(wanted) > _WIDTH and max(wanted) > _NARROWEST:
        at = wanted.index(max(wanted))
        others = sorted(wanted)[-2] if len(wanted) > 1 else 0
        wanted[at] = max(_NARROWEST, min(others, wanted[at] - 1), wanted[at] - (sum(wanted) - _WIDTH))
    return wanted


def _wrapped(text: str, width: int) -> list[str]:
    return [part for line in text.split("\n") for part in textwrap.wrap(line, width, replace_whitespace=False) or [""]]


def _lines(row: Sequence[list[str]], widths: Sequence[int]) -> str:
    height = max(map(len, row))
    padded = [cell + [""] * (height - len(cell)) for cell in row]
    return "\n".join(
        "  ".join(cell[at].ljust(width) for cell, width in zip(padded, widths, strict=True)).rstrip()
        for at in range(height)
    )
