"""Fence code for Markdown."""

from __future__ import annotations

import re


def fence(code: str) -> str:
    """Return the shortest fence that nothing in the code can end: three backticks, or one more than stand in a row."""
    return "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))


def fenced(code: str, language: str = "") -> str:
    """Return a Markdown code block."""
    ticks = fence(code)
    return f"{ticks}{language}\n{code}\n{ticks}"
