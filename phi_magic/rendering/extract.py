"""Find a code block or a JSON value in the answer of a model, which often writes prose around it."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import PhiError

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

#: Values nested deeper are refused: front ends and notebook files are read by programs that recurse.
DEEPEST = 100

PYTHON = ("python", "py", "python3", "ipython", "")


class Block(NamedTuple):
    """A fenced code block. ``language`` is the first word behind its fence, in lower case; it is often empty."""

    language: str
    source: str


def blocks(text: str) -> list[Block]:
    """Find every fenced code block in the Markdown of an answer, also a last one whose fence is never closed."""
    from ..rendering import to_text
    from ..rendering.document import LONGEST

    if len(text) > LONGEST:
        return []
    fences = (token for token in _parser().parse(to_text(text)) if token.type == "fence")
    return [Block(_language(fence.info), fence.content.rstrip("\n")) for fence in fences]


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    md = MarkdownIt("commonmark", {"html": False})
    md.core.ruler.enableOnly(["normalize", "block"])  # only blocks are looked for, not what a paragraph holds
    return md


def _language(info: str) -> str:
    return (info.split() or [""])[0].lower().strip("{}.")


def block(text: str, *languages: str) -> Block | None:
    """Find the first code block in one of these languages; ``""`` stands for a block that names none."""
    return next((found for found in blocks(text) if found.language in languages and found.source.strip()), None)


def code(text: str) -> Block | None:
    """Find the code of an answer: its first block of Python, else its first block of any language."""
    return block(text, *PYTHON) or next((found for found in blocks(text) if found.source.strip()), None)


def data(text: str) -> Any:
    """Find the JSON value of an answer: the whole text, a code block, or the first object or array in the prose.

    A lone surrogate in a string, which no front end could be sent, is replaced.

    Raises:
        PhiError: The answer holds no JSON, or JSON that is broken, cut short, has ``NaN`` or infinite numbers, or is
            nested deeper than :data:`DEEPEST`.
    """
    source = text.strip()
    found = block(text, "json", "")
    try:
        if source[:1] not in ("{", "["):
            try:
                return _cleaned(_DECODER.decode(source), 0)
            except ValueError:
                source = found.source.strip() if found else source[_first_bracket(source) :]
        return _cleaned(_DECODER.raw_decode(source)[0], 0)
    except json.JSONDecodeError as error:
        reason = f"{error.msg}, line {error.lineno} column {error.colno}" if source else "it is empty"
        raise PhiError(f"the answer is not JSON: {reason}") from None
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise PhiError(f"the answer is not JSON: {reason}") from None


def _first_bracket(source: str) -> int:
    return min((at for at in (source.find("{"), source.find("[")) if at >= 0), default=0)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _cleaned(value: Any, depth: int) -> Any:
    if depth > DEEPEST:
        raise ValueError(f"it is nested deeper than {DEEPEST}")
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode() if not value.isascii() else value
    if isinstance(value, list):
        return [_cleaned(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_cleaned(key, 0): _cleaned(item, depth + 1) for key, item in value.items()}
    if isinstance(value, float) and value in (float("inf"), float("-inf")):  # 1e999
        raise ValueError("a number is too large")
    return value
