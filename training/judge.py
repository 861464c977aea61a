"""Says whether an answer is right, for every ability: by the same grammar that wrote the training text."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from training import corpus, exceptions, haiku, knowledge, structured
from training.functions import NAMES, Function
from training.lexicon import Topic, words


class HaikuMarks(NamedTuple):
    """What holds of one haiku."""

    three_lines: bool
    on_topic: bool
    five_seven_five: bool
    lines_in_measure: float  # the share of the three lines that have their syllables
    known_words: float  # the share of the words that are the grammar's


def judge_haiku(text: str, topic: Topic) -> HaikuMarks:
    """Judge a haiku by its form and by whether it has a word of the topic's field."""
    lines = text.strip().split("\n")
    syllables = tuple(haiku.count_syllables(line) for line in lines)
    said, table = words(text), haiku.syllable_table()
    return HaikuMarks(
        len(lines) == 3,
        bool(topic.field & set(said)),
        syllables == haiku.SHAPE,
        sum(one == other for one, other in zip(syllables, haiku.SHAPE, strict=False)) / 3,
        sum(word in table for word in said) / len(said) if said else 0.0,
    )


def is_list(text: str, kind: str, count: int, style: str) -> bool:
    """Whether it is ``count`` different things of the kind, in the style."""
    if style == "commas":
        items = text.strip().split(", ")
    else:
        marks = [r"- "] * count if style == "bullets" else [rf"{i}\. " for i in range(1, count + 1)]
        lines = text.strip().split("\n")
        if len(lines) != count or not all(re.match(mark, line) for mark, line in zip(marks, lines, strict=True)):
            return False
        items = [line.split(" ", 1)[1] for line in lines]
    return len(items) == len(set(items)) == count and set(items) <= set(structured.KINDS[kind].split())


def is_json(text: str, keys: tuple[str, ...]) -> bool:
    """Whether it is one JSON object with these keys, in this order, and values that fit them."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError:
        return False
    return (
        isinstance(data, dict)
        and tuple(data) == keys
        and all(type(value) in {type(choice) for choice in structured.KEY[key].choices} for key, value in data.items())
    )


def is_function(text: str, function: Function) -> bool:
    """Whether it is a Python block with this function, whatever its parameters are called."""
    block = code_block(text)
    return block is not None and any(re.fullmatch(_pattern(code), block) for code in function.codes)


def _pattern(code: str) -> str:
    """A code template as an expression in which every name may vary but stays the same throughout."""
    seen: set[str] = set()

    def slot(match: re.Match[str]) -> str:
        name = match.group(1)
        if name in seen:
            return f"(?P={name})"
        seen.add(name)
        return f"(?P<{name}>{'|'.join(NAMES[name])})"

    return re.sub(r"<(\w+)>", slot, re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", code))


def code_block(text: str) -> str | None:
    """The code of the one Python block, or None."""
    found = re.fullmatch(r".*?```python\n(.*)\n```", text.strip(), flags=re.DOTALL)
    return found.group(1) if found else None


def is_fix(text: str, failure: exceptions.Failure) -> bool:
    """Whether a sentence comes first and the corrected cell is the one expected."""
    return code_block(text) == failure.fixed and not text.startswith("```")


def explains(text: str, name: str) -> bool:
    """Whether it explains the exception ``name`` in words of the grammar."""
    return name in text and any(meaning in text for meaning in exceptions.MEANING[name])


def admits(text: str) -> bool:
    """Whether it says that the model does not know, in words of the grammar."""
    return text.strip() in knowledge.UNKNOWN_ANSWERS


def is_capitals(text: str) -> bool:
    return text == text.upper() and text != text.lower()


def is_pirate(text: str) -> bool:
    return text.startswith(corpus.PIRATE_START)
