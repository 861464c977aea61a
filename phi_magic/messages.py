"""The messages before each turn of a conversation, in one list that all its replies share.

Every reply records the conversation before it. With a list for each, 500 turns would hold 250,000 references. A turn adds
two messages to those of the turn before, so the replies share one list, and each sees the beginning of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, overload

from .reply import Message


class Earlier(Sequence[Message]):
    """The first messages of a list that may grow at its end; it compares, prints, pickles and adds up as a list does.

    Args:
        messages: what is seen.
        after: what the turn before saw; its list is used again if ``messages`` go on from it.
    """

    def __init__(self, messages: Sequence[Message], after: Sequence[Message] = ()) -> None:
        shared: list[Message] = after.shared if isinstance(after, Earlier) else []
        if any(ours is not theirs for ours, theirs in zip(messages, shared, strict=False)):
            shared = []
        shared += messages[len(shared) :]
        self.shared: list[Message] = shared
        self.length = len(messages)

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, place: int) -> Message: ...

    @overload
    def __getitem__(self, place: slice) -> list[Message]: ...

    def __getitem__(self, place: int | slice) -> Message | list[Message]:
        if isinstance(place, slice):
            return self.shared[: self.length][place]
        return self.shared[range(self.length)[place]]

    def __add__(self, others: Iterable[Message]) -> list[Message]:
        return [*self, *others]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self[:] == list(other)

    __hash__ = None  # type: ignore[assignment]  # as a list

    def __repr__(self) -> str:
        return repr(self[:])

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (self[:],)  # without the later turns
