"""What an answer is published as, in each format: MIME types to data."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from typing import Any

from ..errors import PhiError
from . import extract
from .fences import fenced

#: The forms that are made of an answer's text alone, the first being the default.
FORMS = ("markdown", "text", "code", "json", "html", "math")


def bundle(text: str, form: str = "markdown", *, whole: bool = True) -> dict[str, Any]:
    """The display data of an answer's text.

    Front ends choose the richest type they know; all of them are safe to show (see :mod:`phi_magic.rendering`). A whole
    answer has no HTML where Markdown says everything, for nbconvert's Markdown (7.17) takes HTML where there is any.
    ``text/plain`` is the answer itself, to the letter, but for characters that would steer a terminal; of ``code`` and
    ``json`` it is what was asked for alone. An answer that is not what was asked for is shown as it is:
    :func:`remark` says so.

    Args:
        form: one of the ``format`` trait's values.
        whole: false while the answer is still growing: what only a saved notebook needs is left out, and what can be
            told at the end alone, such as JSON, is shown as text till then.
    """
    from . import to_html, to_text

    plain = {"text/plain": to_text(text)}
    if not whole:
        return plain if form in ("text", "json", "html") else {"text/html": to_html(text), **plain}
    return _WHOLE[form](text)


_TAIL = 400  # characters of growing thoughts: a few lines


def with_thoughts(data: dict[str, Any], reasoning: str, took: str, *, growing: bool = False) -> dict[str, Any]:
    """Put what a reasoning model thought above the display data of its answer, folded; text alone stays as it is.

    Args:
        took: what it took, in words.
        growing: as for :func:`folded`.
    """
    from . import escape, to_html

    if not reasoning:
        return data
    if "text/html" in data:
        answer = data["text/html"]
    elif "text/markdown" in data:
        answer = to_html(data["text/markdown"])
    elif "text/latex" in data:
        answer = to_html(data["text/latex"])
    else:
        answer = f'<pre style="white-space: pre-wrap">{escape(data["text/plain"])}</pre>'
    return {**data, "text/html": folded(reasoning, took, growing=growing) + answer}


def folded(reasoning: str, took: str, *, growing: bool = False) -> str:
    """HTML of a line that says what thoughts took, and opens to show them; nothing where there are none.

    Args:
        growing: whether the answer is yet to come: the end of the thoughts can be read then, since what a reader opened
            would be folded again when the next ones come.
    """
    from . import escape

    if not reasoning:
        return ""
    summary = f'<summary style="opacity: 0.65; font-size: 0.9em; cursor: pointer">{escape(took)}</summary>'
    text = f"…{reasoning[-_TAIL:]}" if growing and len(reasoning) > _TAIL else reasoning
    thoughts = f'<div style="white-space: pre-wrap; opacity: 0.75; margin-left: 1em">{escape(text)}</div>'
    return f"<details{' open' * growing}>{summary}{thoughts}</details>"


def remark(text: str, form: str) -> str:
    """Say in one line where a whole answer has no code block though it is to be code; of JSON ``Reply.error`` says it."""
    return "the answer has no code block" if form == "code" and extract.code(text) is None else ""


def next_cell(text: str) -> str | None:
    """The Python code that an answer proposes for the next cell, or None."""
    found = extract.block(text, *extract.PYTHON)
    return found.source if found else None


# Two words in a row are prose, unless a command takes them as its text.
_WORDS = re.compile(r"[^\W\d_]{2,}\s+[^\W\d_]{2,}")
_COMMAND = re.compile(r"\\(?:text\w*|mbox|operatorname)\s*\{[^{}]*\}|\\[A-Za-z]+")


def _markdown(text: str) -> dict[str, Any]:
    from . import to_html, to_markdown, to_text

    data = {"text/markdown": to_markdown(text), "text/plain": to_text(text)}
    # No front end sets the direction of a paragraph of Markdown.
    return {"text/html": to_html(text), **data} if _has_right_to_left(text) else data


def _has_right_to_left(text: str) -> bool:
    return not text.isascii() and any(unicodedata.bidirectional(character) in ("R", "AL") for character in text)


def _text(text: str) -> dict[str, Any]:
    from . import to_text

    return {"text/plain": to_text(text)}


def _code(text: str) -> dict[str, Any]:
    found = extract.code(text)
    return _fenced(found.source, found.language or "python") if found else _markdown(text)


def _fenced(source: str, language: str) -> dict[str, Any]:
    return {**_markdown(fenced(source, language)), "text/plain": source}


def _json(text: str) -> dict[str, Any]:
    try:
        value = extract.data(text)
    except PhiError:
        return _text(text)
    # No application/json: a notebook file sorts its keys, and their order is part of the answer.
    return _fenced(_text(json.dumps(value, indent=2, ensure_ascii=False))["text/plain"], "json")


def _html(text: str) -> dict[str, Any]:
    from .sanitised import sanitised

    found = extract.block(text, "html", "htm", "xhtml")
    return {"text/html": sanitised(found.source if found else text), **_text(text)}


def _math(text: str) -> dict[str, Any]:
    from .formulas import formula

    found = extract.block(text, "latex", "tex", "math")
    source = found.source if found else text
    stripped = source.strip()
    for left, right in (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$")):
        if stripped.startswith(left) and stripped.endswith(right) and len(stripped) > len(left + right):
            tex = formula(stripped[len(left) : len(stripped) - len(right)])
            break
    else:
        tex = formula(stripped) if not _WORDS.search(_COMMAND.sub("", stripped)) else None
    # Prose around formulas, or what no typesetter may be given: Markdown shows both as they should be.
    return {"text/latex": f"$$\n{tex}\n$$", **_text(text)} if tex else _markdown(source)


_WHOLE: dict[str, Callable[[str], dict[str, Any]]] = {
    "markdown": _markdown,
    "text": _text,
    "code": _code,
    "json": _json,
    "html": _html,
    "math": _math,
}
