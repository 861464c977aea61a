"""Which turns of a conversation are sent when it has outgrown the context."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from ..generation.request import ChatMessage


def fit(
    messages: Sequence[ChatMessage],
    tokens: Callable[[Sequence[ChatMessage]], list[int]],
    *,
    answer: int,
    ceiling: int,
) -> tuple[list[int], int]:
    """Leave out the oldest turns that the context has no room for.

    The answer must fit too; a quarter of the context is room enough for it. The system message and the question always
    stay.

    Args:
        messages: the conversation, the question last.
        tokens: gives the prompt's tokens for some of the messages.
        answer: the most tokens that the answer may have.
        ceiling: the most tokens that prompt and answer may have together.

    Returns:
        the prompt's tokens, and how many of the oldest turns were left out.
    """
    system = messages[:1] if messages[0].role == "system" else ()
    turns = [at for at, message in enumerate(messages) if message.role == "user"]
    room = min(answer, ceiling // 4)

    def without(count: int) -> list[int]:
        return tokens([*system, *messages[turns[count] :]] if count else messages)

    whole = without(0)
    if len(whole) + room <= ceiling or len(turns) < 2:
        return whole, 0
    counts = range(1, len(turns) - 1)  # if none of these will do, all turns but the question are left out
    count = 1 + bisect_left(counts, True, key=lambda count: len(without(count)) + room <= ceiling)
    return without(count), count
