"""Which prompts share a pass."""

import pytest

from phi_magic.engine.grouping import passes, worth_waiting_for


@pytest.mark.parametrize(
    ("lengths", "groups"),
    [
        ([], []),
        ([12], [[0]]),
        ([16] * 8, [[0, 1, 2, 3, 4, 5, 6], [7]]),  # eight rows of logits would go through other kernels
        ([12] * 9, [[0, 1, 2, 3, 4], [5, 6, 7, 8]]),  # 60 and 48 tokens take seven tiles of 16; 84 and 24 take eight
        ([37] * 12, [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]),  # more than 256 tokens are two parts
        ([12, 40, 13, 30], [[1, 3], [2, 0]]),  # where filling up costs more than a pass
        ([100] * 6, [[0, 1, 2, 3, 4], [5]]),  # no more tokens than a pass may have
        ([600, 590], [[0], [1]]),
        ([8, 7, 7, 8], [[0, 3], [1], [2]]),  # fewer tokens than a slice go through other kernels
        ([0, 9, 0, 0], [[1], [0, 2, 3]]),  # nothing to evaluate
    ],
)
def test_prompts_of_similar_length_share_a_pass(lengths, groups):
    assert passes(dict(enumerate(lengths)), dict.fromkeys(range(len(lengths)), 1000)) == groups


def test_a_sequence_is_not_filled_up_beyond_its_room():
    assert passes({0: 20, 1: 19, 2: 19}, {0: 20, 1: 19, 2: 20}) == [[0], [1, 2]]


def test_short_prompts_are_worth_waiting_for_and_long_ones_are_not():
    assert [worth_waiting_for(length) for length in (1, 12, 40, 64, 128, 4000)] == [7, 7, 3, 2, 1, 1]
