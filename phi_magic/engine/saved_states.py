"""Memories put aside: what an unrelated question would push out of the context."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..machine import available
from .llama import C

#: Fewer tokens are sooner read again than put aside and fetched.
WORTH = 64
_MOST = 8
_SHARE = 0.25  # of the memory that this process may still use


@dataclass(frozen=True)
class Memory:
    """A copy of a sequence's memory, bit by bit, the tokens it is of, and the RoPE factors that their keys have."""

    tokens: tuple[int, ...]
    factors: str | None
    data: ctypes.Array[ctypes.c_uint8]

    @classmethod
    def of(cls, pointer: Any, tokens: Sequence[int], factors: str | None) -> Memory | None:
        """Copy what a context holds, which must be just ``tokens``; None where llama.cpp cannot, or memory is short."""
        size = C.llama_state_seq_get_size(pointer, 0)
        if size > _SHARE * available().bytes:
            return None
        try:
            data = (ctypes.c_uint8 * size)()
        except MemoryError:
            return None
        copied = C.llama_state_seq_get_data(pointer, data, size, 0)
        return cls(tuple(tokens), factors, data) if copied == size else None

    def put_back(self, pointer: Any) -> bool:
        """Make a context hold it, and nothing else."""
        C.llama_memory_clear(C.llama_get_memory(pointer), False)
        return bool(C.llama_state_seq_set_data(pointer, self.data, len(self.data), 0))


class Shelf:
    """The newest memories that were put aside, as many as a part of the free memory holds."""

    def __init__(self) -> None:
        self._memories: list[Memory] = []  # the newest last

    def put(self, memory: Memory) -> None:
        """Keep it, in place of those that it begins like, and of the oldest ones where there is no room."""
        self._memories = [
            one
            for one in self._memories
            if one.factors != memory.factors or memory.tokens[: len(one.tokens)] != one.tokens
        ]
        self._memories = [*self._memories, memory][-_MOST:]
        room = _SHARE * (available().bytes + sum(len(one.data) for one in self._memories))
        while self._memories and sum(len(one.data) for one in self._memories) > room:
            self._memories.pop(0)

    def best(self, prompt: Sequence[int], more_than: int, factors: str | None) -> Memory | None:
        """The memory with these factors that shares the longest beginning with a prompt, where it is worth fetching."""
        usable = [(common(one.tokens, prompt), one) for one in self._memories if one.factors == factors]
        shared, best = max(usable, default=(0, None), key=_first)
        return best if shared >= more_than + WORTH else None

    def clear(self) -> None:
        self._memories.clear()


def common(ours: Sequence[int], theirs: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    pairs = enumerate(zip(ours, theirs))  # noqa: B905 (up to the end of the shorter)
    return next((at for at, (a, b) in pairs if a != b), min(len(ours), len(theirs)))


def _first(pair: tuple[int, Any]) -> int:
    return pair[0]
