"""The explorer's draws beside those of llama.cpp's own sampler."""

from __future__ import annotations

import numpy as np
import pytest

from phi_magic import Phi
from phi_magic.draws import draw, random_number
from phi_magic.engine.sampler import Sampler
from phi_magic.parameters import SamplingParameters

VOCABULARY = 2_000


def test_the_generator_is_the_one_of_the_c_standard():
    # The 10,000th word of a std::mt19937 seeded with its default, 5489, is 4123659995 (C++ standard, [rand.predef]).
    number = random_number(5489, 4999)
    assert int(number * 2**32) == 4123659995


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"top_p": 1},
        {"top_p": 1, "top_k": 40},
        {"top_p": 1, "min_p": 0.05},
        {"top_p": 0.5, "top_k": 300, "min_p": 0.01, "temperature": 1.5},
        {"temperature": 5, "top_p": 0.99, "repeat_penalty": 1.8, "repeat_last_n": 5},
        {"temperature": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", [0, 7, 2**32 - 2])
def test_every_draw_is_that_of_the_sampler_with_this_seed(parameters, seed):
    sampling = SamplingParameters(**parameters)
    random = np.random.default_rng(1)
    generated, ours = [], []
    sampler = Sampler(sampling, seed, VOCABULARY)
    for step in range(300):
        logits = random.normal(0, 3, VOCABULARY).astype(np.float32)
        ours.append(draw(logits, generated, random_number(seed, step), sampling))
        generated.append(sampler.draw(logits).token)
    sampler.close()
    assert ours == generated


def test_a_token_at_the_border_of_top_p_is_drawn_as_in_32_bits():
    # 0.1 + 0.2 + 0.3 + 0.4 in 32 bits, where sums of the parts lie on the border that top-p compares with.
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.1], np.float32))
    for top_p in (0.4, 0.7, 0.9):
        sampling = SamplingParameters(temperature=1, top_p=top_p, repeat_penalty=1)
        sampler = Sampler(sampling, 5, len(logits))
        theirs = [sampler.draw(logits).token for _ in range(200)]
        sampler.close()
        assert [draw(logits, [], random_number(5, step), sampling) for step in range(200)] == theirs


def test_an_answer_can_be_drawn_again_from_its_logits():
    phi = Phi(model="demo", seed=11, temperature=1.4, top_p=0.98)
    reply = phi("Write a haiku about ice hockey")
    tokens = [token.id for token in reply.tokens]
    sampling = SamplingParameters(temperature=1.4, top_p=0.98)
    assert len(tokens) > 5
    for step, token in enumerate(tokens):
        here = phi.look(reply.prompt, tokens[:step])
        assert draw(here.logits, here.generated, random_number(11, step), sampling) == token
