"""A table's requests as chunks: first small ones, then as many rows as the speed allows."""

from dataclasses import replace

from phi_magic.generation.cutting import Waiting
from phi_magic.generation.request import ChatMessage, GenerationRequest, ModelReference
from phi_magic.parameters import SamplingParameters

ROW = GenerationRequest(
    ModelReference("demo"), (ChatMessage("user", "x" * 240),), SamplingParameters(), 1, 40
)  # 100 tokens


def cut(waiting, seconds=None):
    """All chunks, each of which took so many seconds for a row."""
    sizes, numbers = [], []
    while waiting:
        chunk = waiting.next()
        sizes.append(len(chunk.numbers))
        numbers += chunk.numbers
        if seconds:
            waiting.took(chunk, seconds * len(chunk.numbers))
    assert numbers == list(range(len(numbers)))
    return sizes


def test_chunks_are_small_until_one_came_back():
    assert cut(Waiting([ROW] * 50, 2)) == [16, 16, 16, 2]
    assert cut(Waiting([ROW] * 32, 2)) == [16, 16]
    assert cut(Waiting([ROW] * 10, 2)) == [5, 5]


def test_they_take_ten_seconds_by_the_speed_of_those_that_came_back():
    sizes = cut(Waiting([ROW] * 10_000, 2), seconds=0.125)
    assert sizes[:4] == [16, 80, 80, 80]


def test_slow_rows_still_share_their_passes():
    assert cut(Waiting([ROW] * 200, 2), seconds=5)[:5] == [16] * 5


def test_the_last_chunks_end_at_about_the_same_time():
    sizes = cut(Waiting([ROW] * 1_000, 4), seconds=0.001)
    assert sizes[1] == 984 // 8
    assert sizes == [sizes[0], *sorted(sizes[1:], reverse=True)]
    assert sizes[-5:-1] == [16] * 4  # narrower passes would take as long


def test_what_was_not_answered_comes_next_and_is_among_the_rest():
    requests = [replace(ROW, seed=number) for number in range(40)]
    waiting = Waiting(requests, 2)
    first = waiting.next()
    waiting.put_back(first)
    assert waiting.rest() == list(enumerate(requests))
    assert waiting.next() is first
