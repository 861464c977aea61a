"""Where a model's thoughts begin and end: tags that are control tokens, or text like any other.

A control token stands for no text. So that a tag which is one (or is made of several) is not taken for its spelling,
each of them is represented by a *mark*: a lone surrogate, a character that decoded text never holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..generation.thoughts import Tags

if TYPE_CHECKING:
    from .model import Model

_FIRST = 0xD800
_MARK = re.compile("[\ud800-\udbff]")


@dataclass(frozen=True)
class Thinking:
    """An answer that begins with thoughts, or may begin with them.

    Attributes:
        tags: around the thoughts, with a mark for each control token in them.
        marks: of the control tokens, by id.
        closing: tokens that end the thoughts.
        begun: whether the prompt has the opening tag; else the model may write it.
    """

    tags: Tags
    marks: Mapping[int, str]
    closing: Sequence[int]
    begun: bool = False


def thinking_of(model: Model, *, begun: bool) -> Thinking:
    """Return how the answers of a model begin, in which tags may stand that are control tokens."""
    tags = model.tags
    spelled = [part for part in model.split(tags.opening + tags.closing + tags.answer) if part in model.controls]
    marks = {model.controls[part]: chr(_FIRST + number) for number, part in enumerate(dict.fromkeys(spelled))}

    def marked(tag: str) -> str:
        return "".join(marks[model.controls[part]] if part in model.controls else part for part in model.split(tag))

    resolved = Tags(marked(tags.opening), marked(tags.closing), marked(tags.answer))
    if resolved.closing == tags.closing:
        closing = model.tokens_within(f"\n{tags.closing}\n\n")
    else:
        parts = parts_of(resolved.closing, marks)
        closing = [t for part in parts for t in ([part] if isinstance(part, int) else model.tokens_within(part))]
    return Thinking(resolved, marks, closing, begun)


def parts_of(tag: str, marks: Mapping[int, str]) -> list[int | str]:
    """Return the control tokens and the texts that a tag is made of."""
    tokens = {mark: token for token, mark in marks.items()}
    return [tokens.get(part, part) for part in re.split(f"({_MARK.pattern})", tag) if part]


def without_marks(text: str) -> str:
    """Return a text without marks: control tokens that part nothing stand for no text."""
    return _MARK.sub("", text)
