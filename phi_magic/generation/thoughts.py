"""Part what a reasoning model thinks, between its tags, from what it answers after them."""

from __future__ import annotations

OPENING, CLOSING = "<think>", "</think>"


class Thoughts:
    """Parts a text that comes piece by piece, however it is cut.

    The thoughts begin where the text begins with the opening tag, or in the prompt. They end with the tag that closes
    them; a pair of tags within is part of them. Without a closing tag all is thought. White space around the tags belongs
    to neither. After the thoughts, tags are text.

    Args:
        begun: whether the prompt ends with the opening tag.
    """

    def __init__(self, *, begun: bool = False) -> None:
        self._depth = int(begun)
        self._undecided = not begun  # whether the text may still begin with the opening tag
        self._waiting = ""
        self._blank = True  # whether white space is left out, at the beginning of a part

    @property
    def thinking(self) -> bool:
        """Whether what comes next is thought, as far as is known."""
        return self._depth > 0

    @property
    def undecided(self) -> bool:
        """Whether it is open yet if there are thoughts."""
        return self._undecided

    def split(self, text: str, *, last: bool = False) -> tuple[str, str]:
        """Return the thoughts and the answer that are certain by now.

        Args:
            text: the next piece.
            last: whether it is the last one.
        """
        self._waiting += text
        thoughts: list[str] = []
        if self._undecided:
            begun = self._waiting.lstrip()
            if begun.startswith(OPENING):
                self._depth, self._undecided, self._waiting = 1, False, begun[len(OPENING) :]
            elif last or not OPENING.startswith(begun):
                self._undecided = self._blank = False
            else:
                return "", ""
        while self._depth:
            found = {tag: at for tag in (OPENING, CLOSING) if (at := self._waiting.find(tag)) >= 0}
            if not found:
                hold = 0 if last else _beginning(self._waiting)
                thoughts.append(self._plain(self._waiting[: len(self._waiting) - hold]))
                self._waiting = self._waiting[len(self._waiting) - hold :]
                return "".join(thoughts), ""
            tag = min(found, key=lambda tag: found[tag])
            end = found[tag] + len(tag)
            self._depth += 1 if tag == OPENING else -1
            thoughts.append(self._plain(self._waiting[: end if self._depth else found[tag]]))
            self._waiting = self._waiting[end:]
            if not self._depth:
                self._blank = True
        answer, self._waiting = self._plain(self._waiting), ""
        return "".join(thoughts), answer

    def _plain(self, text: str) -> str:
        """A piece of a part, without the white space that the part begins with."""
        if self._blank:
            text = text.lstrip()
            self._blank = not text
        return text


def _beginning(text: str) -> int:
    """Length of the longest end of a text that may be the beginning of a tag."""
    for length in range(min(len(CLOSING) - 1, len(text)), 0, -1):
        if OPENING.startswith(text[-length:]) or CLOSING.startswith(text[-length:]):
            return length
    return 0
