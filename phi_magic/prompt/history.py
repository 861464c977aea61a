"""Which turns of a conversation are sent when it has outgrown the context.

Leaving out the oldest turn at every question would change the beginning of every prompt, and the model would read all
of it again each time. So turns are left out in blocks: the conversation is cut into blocks of half a context, counted
from its first turn, and as few of them as possible are left out. Until the next block is left out, all prompts have the
same prefix, and the KV cache serves them.

Where a block begins depends on the turns before it alone. So a notebook that runs again leaves out the same turns.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence, Sized
from functools import cache
from itertools import accumulate, pairwise
from typing import TypeVar

from ..generation.request import ChatMessage

Read = TypeVar("Read", bound=Sized)

#: What is estimated to have more tokens than this part of the room is not rendered to see whether it fits.
_SURELY = 1.25


def fit(
    messages: Sequence[ChatMessage],
    read: Callable[[Sequence[ChatMessage]], Read],
    size: Callable[[str], int],
    *,
    answer: int,
    ceiling: int,
) -> tuple[Read, int]:
    """Leave out as few blocks of the oldest turns as make a conversation fit the context.

    The answer must fit too; a quarter of the context is room enough for it. The system message and the question always
    stay. Where a block and the question are too long together, single turns of that block are left out.

    Args:
        messages: the conversation, the question last.
        read: gives the prompt for some of the messages; its length is counted in tokens.
        size: says about how many tokens a text has. It decides where the blocks begin, and what is surely too long.
        answer: the most tokens that the answer may have, a reasoning model's thoughts included.
        ceiling: the most tokens that prompt and answer may have together.

    Returns:
        the prompt, and how many of the oldest turns were left out.
    """
    system = messages[:1] if messages[0].role == "system" else ()
    turns = [at for at, message in enumerate(messages) if message.role == "user"]
    if len(turns) < 2:
        return read(messages), 0
    room = ceiling - min(answer, ceiling // 4)
    texts = [sum(size(message.content) for message in messages[a:b]) for a, b in pairwise([*turns, len(messages)])]
    rest = [*accumulate(reversed(texts))][::-1]  # about how many tokens the texts have from each turn on

    @cache
    def without(count: int) -> Read:
        return read([*system, *messages[turns[count] :]] if count else messages)

    def fits(count: int) -> bool:
        return rest[count] <= _SURELY * room and len(without(count)) <= room

    if fits(0):
        return without(0), 0
    markup = _markup(read, size)
    starts = list(_block_starts([markup + text for text in texts[:-1]], ceiling // 2))
    starts += range(starts[-1] + 1 if starts else 1, len(turns))
    last = len(starts) - 1  # the question alone is not tried: it is sent if nothing longer fits
    at = bisect_left(starts, True, hi=last, key=lambda start: rest[start] + markup * (len(turns) - start) <= room)
    while at < last and not fits(starts[at]):
        at += 1
    while at and fits(starts[at - 1]):
        at -= 1
    return without(starts[at]), starts[at]


def _markup(read: Callable[[Sequence[ChatMessage]], Sized], size: Callable[[str], int]) -> int:
    """Count the tokens that the chat template puts around the texts of a question and its answer."""
    question, answer = ChatMessage("user", "?"), ChatMessage("assistant", "?")
    return max(0, len(read([question, answer, question])) - len(read([question])) - 2 * size("?"))


def _block_starts(sizes: Sequence[int], block: int) -> Iterator[int]:
    """Numbers of the turns that begin a block: the first turn after each multiple of ``block`` tokens."""
    total = 0
    for turn, size in enumerate(sizes, 1):
        before, total = total, total + size
        if total // block > before // block:
            yield turn
