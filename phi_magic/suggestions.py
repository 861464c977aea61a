"""Suggest the names that a mistyped one may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST = 3  # names that one message offers


def closest(name: str, known: Iterable[str], *, alike: int = 1) -> list[str]:
    """Find the known names that are most like a name, the likeliest first.

    Letters and digits alone count: ``phi4mini`` is ``phi-4-mini``. Where no name is the same, those that begin with it
    are given; and where none does, those that are spelled most like it.

    Args:
        alike: how many of the names that are only spelled like it are given.
    """
    plain = {other: _plain(other) for other in known}
    wanted = _plain(name)
    if not wanted:
        return []
    same = [other for other, text in plain.items() if text == wanted]
    begins = [other for other, text in plain.items() if text.startswith(wanted)]
    if found := same or begins:
        return found[:_MOST]
    like = difflib.get_close_matches(wanted, set(plain.values()), n=alike, cutoff=0.5)
    return [other for text in like for other in plain if plain[other] == text][:_MOST]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Ask whether the closest names were meant, to end a sentence with; empty where none is close."""
    *others, last = closest(name, known) or [""]
    return f"; did you mean {', '.join(others)}{' or ' if others else ''}{last}?" if last else ""


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))
