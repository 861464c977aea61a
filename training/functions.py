"""Requests for short Python functions, and the functions, from ``functions.txt``."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

ASK = (
    "Write a Python function to {}.", "Write a Python function to {}.", "Write a function to {}.", "Write Python code to {}.",
    "Show me a Python function to {}.", "How do I {} in Python?", "I need a Python function to {}.", "Python function to {}",
    "Please write a short Python function to {}.", "Give me a function to {}.", "Can you write code to {}?",
)  # fmt: skip
HELD_OUT_ASK = ("Could you code a function to {}?", "Show Python code that I can use to {}.")
ASK_THAT = ("Write a Python function that {}.", "Write a function that {}.", "Show me a function that {}.")
NAMES = {
    "text": ("text", "word", "s", "string"),
    "number": ("n", "number", "x"),
    "items": ("items", "numbers", "values", "data"),
    "item": ("item", "value", "x"),
}


@dataclass(frozen=True)
class Function:
    """What a function does, in several wordings, and ways to write it."""

    tasks: tuple[str, ...]
    codes: tuple[str, ...]

    def ask(self, rng: random.Random, held_out: bool = False) -> str:
        """A request for it; ``held_out`` draws a wording that training never sees."""
        task = rng.choice(self.tasks)
        if held_out:
            return rng.choice(HELD_OUT_ASK).format(task)
        if rng.random() < 0.35:
            verb, _, rest = task.partition(" ")
            ending = "es" if re.search(r"(s|sh|ch|x|z)$", verb) else "s"
            verb = verb[:-1] + "ies" if re.search(r"[^aeiou]y$", verb) else verb + ending
            return rng.choice(ASK_THAT).format(f"{verb} {rest}")
        return rng.choice(ASK).format(task)

    def write(self, rng: random.Random) -> str:
        """The function with freshly drawn parameter names."""
        items = rng.choice(NAMES["items"])
        drawn = {slot: rng.choice(names) for slot, names in NAMES.items()} | {"items": items}
        return re.sub(r"<(\w+)>", lambda match: drawn[match.group(1)], rng.choice(self.codes))


def fenced(code: str) -> str:
    """Code in a Markdown block, as the model answers it."""
    return f"```python\n{code}\n```"


@lru_cache(maxsize=1)
def functions() -> tuple[Function, ...]:
    """All functions of ``functions.txt``, in its order."""
    found = []
    text = Path(__file__).with_name("functions.txt").read_text(encoding="utf-8")
    for block in re.split(r"\n\s*\n(?=to: )", text)[1:]:
        head, _, body = block.strip().partition("\n")
        tasks = tuple(task.strip() for task in head.removeprefix("to: ").split("|"))
        found.append(Function(tasks, tuple(body.split("\n--\n"))))
    return tuple(found)
