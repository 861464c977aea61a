"""Saved KV states: copies of what an unrelated question would remove from the KV cache."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..machine import available
from .llama import C

#: Tokens; evaluating fewer than these again takes less time than to save and restore them.
WORTH = 64
_MOST = 8
_SHARE = 0.25  # of the RAM that this process may still use


@dataclass(frozen=True)
class SavedState:
    """A copy of a sequence's KV cache, the tokens that it holds, and the RoPE factors that their keys have."""

    tokens: tuple[int, ...]
    factors: str | None
    data: ctypes.Array[ctypes.c_uint8]

    @classmethod
    def of(cls, pointer: Any, tokens: Sequence[int], factors: str | None) -> SavedState | None:
        """Copy the KV cache of a context, which must hold just ``tokens``; None where llama.cpp cannot, or RAM is short."""
        size = C.llama_state_seq_get_size(pointer, 0)
        if size > _SHARE * available().bytes:
            return None
        try:
            data = (ctypes.c_uint8 * size)()
        except MemoryError:
            return None
        copied = C.llama_state_seq_get_data(pointer, data, size, 0)
        return cls(tuple(tokens), factors, data) if copied == size else None

    def restore(self, pointer: Any) -> bool:
        """Replace the KV cache of a context by this state; returns whether llama.cpp could."""
        C.llama_memory_clear(C.llama_get_memory(pointer), False)
        return bool(C.llama_state_seq_set_data(pointer, self.data, len(self.data), 0))


class SavedStates:
    """The newest saved KV states, as many as a part of the free RAM holds."""

    def __init__(self) -> None:
        self._states: list[SavedState] = []  # the newest last

    def put(self, state: SavedState) -> None:
        """Keep a state; drop the states that are a prefix of it, and the oldest ones if they do not fit."""
        self._states = [
            one for one in self._states if one.factors != state.factors or state.tokens[: len(one.tokens)] != one.tokens
        ]
        self._states = [*self._states, state][-_MOST:]
        room = _SHARE * (available().bytes + sum(len(one.data) for one in self._states))
        while self._states and sum(len(one.data) for one in self._states) > room:
            self._states.pop(0)

    def best(self, prompt: Sequence[int], more_than: int, factors: str | None) -> SavedState | None:
        """Return the state with these factors that shares the longest prefix with a prompt, if restoring it is worth it."""
        usable = [(common(one.tokens, prompt), one) for one in self._states if one.factors == factors]
        shared, best = max(usable, default=(0, None), key=_first)
        return best if shared >= more_than + WORTH else None

    def clear(self) -> None:
        self._states.clear()


def common(ours: Sequence[int], theirs: Sequence[int]) -> int:
    """Return the length of the common prefix of two token sequences."""
    pairs = enumerate(zip(ours, theirs))  # noqa: B905 (up to the end of the shorter)
    return next((at for at, (a, b) in pairs if a != b), min(len(ours), len(theirs)))


def _first(pair: tuple[int, Any]) -> int:
    return pair[0]
