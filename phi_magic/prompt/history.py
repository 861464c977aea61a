"""Which turns of a conversation are sent when it has outgrown the context.

Leaving out the oldest turn at every question would change the beginning of every prompt, and the model would read all
of it again each time. So turns are left out in blocks: the conversation is cut into blocks of half a context, counted
from its first turn, and as few of them as possible are left out. Until the next block is left out, all prompts have the
same prefix, and the KV cache serves them.

Where a block begins depends on the turns before it alone. So a notebook that runs again leaves out the same turns.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from ..generation.request import ChatMessage


def fit(
    messages: Sequence[ChatMessage],
    tokens: Callable[[Sequence[ChatMessage]], list[int]],
    size: Callable[[str], int],
    *,
    answer: int,
    ceiling: int,
) -> tuple[list[int], int]:
    """Leave out as few blocks of the oldest turns as make a conversation fit the context.

    The answer must fit too; a quarter of the context is room enough for it. The system message and the question always
    stay. Where a block and the question are too long together, single turns of that block are left out.

    Args:
        messages: the conversation, the question last.
        tokens: gives the prompt's tokens for some of the messages.
        size: says about how many tokens a text has. It decides where the blocks begin.
        answer: the most tokens that the answer may have, a reasoning model's thoughts included.
        ceiling: the most tokens that prompt and answer may have together.

    Returns:
        the prompt's tokens, and how many of the oldest turns were left out.
    """
    system = messages[:1] if messages[0].role == "system" else ()
    turns = [at for at, message in enumerate(messages) if message.role == "user"]
    room = min(answer, ceiling // 4)

    def without(count: int) -> list[int]:
        return tokens([*system, *messages[turns[count] :]])

    whole = tokens(messages)
    if len(whole) + room <= ceiling or len(turns) < 2:
        return whole, 0
    markup = _markup(tokens, size)
    sizes = [markup + sum(size(message.content) for message in messages[a:b]) for a, b in pairwise(turns)]
    starts = list(_block_starts(sizes, ceiling // 2))
    starts += range(starts[-1] + 1 if starts else 1, len(turns))
    # The question alone is not tried: it is sent if nothing longer fits.
    at = bisect_left(starts, True, hi=len(starts) - 1, key=lambda start: len(without(start)) + room <= ceiling)
    return without(starts[at]), starts[at]


def _markup(tokens: Callable[[Sequence[ChatMessage]], list[int]], size: Callable[[str], int]) -> int:
    """Count the tokens that the chat template puts around the texts of a question and its answer."""
    question, answer = ChatMessage("user", "?"), ChatMessage("assistant", "?")
    return max(0, len(tokens([question, answer, question])) - len(tokens([question])) - 2 * size("?"))


def _block_starts(sizes: Sequence[int], block: int) -> Iterator[int]:
    """Numbers of the turns that begin a block: the first turn after each multiple of ``block`` tokens."""
    total = 0
    for turn, size in enumerate(sizes, 1):
        before, total = total, total + size
        if total // block > before // block:
            yield turn
