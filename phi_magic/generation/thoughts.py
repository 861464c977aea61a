"""Part what a reasoning model thinks, between its tags, from what it answers after them."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Tags:
    """The texts that a kind of reasoning model writes around its thoughts.

    Attributes:
        opening: stands before the thoughts.
        closing: ends them. The model writes it once, so thoughts end where it stands first.
        answer: what an answer without thoughts may begin with; no part of it.
    """

    opening: str
    closing: str
    answer: str = ""


#: From the chat templates beside llama.cpp's sources; the last one is that of most models, Phi-4-mini-reasoning's too.
TAGS = (
    Tags("[THINK]", "[/THINK]"),  # Ministral 3
    Tags("<seed:think>", "</seed:think>"),  # Seed-OSS
    Tags("<mm:think>", "</mm:think>"),  # MiniMax-M3
    Tags("Here are my reasoning steps:\n", "[BEGIN FINAL RESPONSE]"),  # Apriel
    Tags("<|START_THINKING|>", "<|END_THINKING|>"),  # Command R7B
    Tags("<|channel>thought\n", "<channel|>"),  # Gemma 4
    Tags(
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
        "<|channel|>final<|message|>",
    ),  # gpt-oss
    Tags("<|think|>", "<|end|><|begin|>assistant<|content|>", "<|content|>"),  # Solar Open
    Tags("<think>", "</think>"),
)


def tags_in(template: str, controls: Container[str]) -> Tags | None:
    """Return the tags that a chat template, or one of a model's control tokens, has; None where there are none."""
    for tags in TAGS:
        if any(tag.rstrip() in template or tag in controls for tag in (tags.opening, tags.closing)):
            return tags
    return None


def place_of_thoughts(prompt: str, tags: Tags) -> Literal["begun", "open", "left out"]:
    """Say whether a rendered prompt has begun the thoughts, leaves them to the model, or has left them out."""
    end = prompt.rstrip()
    if end.endswith(tags.closing):
        return "left out"
    return "begun" if end.endswith(tags.opening.rstrip()) else "open"


class Thoughts:
    """Parts a text that comes piece by piece, however it is cut.

    The thoughts begin where the text begins with the opening tag, or in the prompt. They end where the closing tag stands
    first, as the grammar of a schema has it (:mod:`phi_magic.engine.grammar`). Without a closing tag all is thought.
    White space around the tags belongs to neither. After the thoughts, tags are text.

    Args:
        tags: what parts them.
        begun: whether the prompt ends with the opening tag.
    """

    def __init__(self, tags: Tags = TAGS[-1], *, begun: bool = False) -> None:
        self._tags = tags
        #: Whether what comes next is thought, as far as is known.
        self.thinking = begun
        #: Whether it is open yet if there are thoughts.
        self.undecided = not begun
        self._waiting = ""
        self._blank = True  # whether white space is left out, at the beginning of a part

    def split(self, text: str, *, last: bool = False) -> tuple[str, str]:
        """Return the thoughts and the answer that are certain by now.

        Args:
            text: the next piece.
            last: whether it is the last one.
        """
        self._waiting += text
        if self.undecided:
            self._decide(last=last)
        if self.undecided:
            return "", ""
        if not self.thinking:
            return "", self._take(len(self._waiting))
        end = self._waiting.find(self._tags.closing)
        if end < 0:
            certain = len(self._waiting) - (0 if last else _beginning(self._waiting, self._tags.closing))
            return self._take(certain if last else len(self._waiting[:certain].rstrip())), ""
        thought = self._take(end).rstrip()
        self._waiting = self._waiting[len(self._tags.closing) :]
        self.thinking, self._blank = False, True
        return thought, self._take(len(self._waiting))

    def _decide(self, *, last: bool) -> None:
        """Find out whether the text begins with thoughts, if that can be told by now."""
        begun = self._waiting.lstrip()
        openings = [(tag, tag == self._tags.opening) for tag in (self._tags.opening, self._tags.answer) if tag]
        for tag, thinking in openings:
            if begun.startswith(tag.rstrip()):
                self.thinking, self.undecided = thinking, False
                self._waiting = begun[len(tag.rstrip()) :]
                return
        if last or not any(tag.startswith(begun) for tag, _ in openings):
            self.undecided = self._blank = False

    def _take(self, length: int) -> str:
        """The beginning of what waits, without the white space that a part begins with."""
        text, self._waiting = self._waiting[:length], self._waiting[length:]
        if self._blank:
            text = text.lstrip()
            self._blank = not text
        return text


def _beginning(text: str, tag: str) -> int:
    """Length of the longest end of a text that may be the beginning of a tag."""
    longest = min(len(tag) - 1, len(text))
    return next((length for length in range(longest, 0, -1) if tag.startswith(text[-length:])), 0)
