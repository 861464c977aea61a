"""Where an answer stands, on the shipped model."""

from __future__ import annotations

import math

import pytest

from phi_magic import Phi, PhiError, distribution, stages

HAIKU = "Write a haiku about ice hockey"


@pytest.fixture(scope="module")
def phi():
    return Phi(model="demo", temperature=0.8, seed=3)


@pytest.fixture(scope="module")
def reply(phi):
    return phi(HAIKU)


def ids(reply):
    return [token.id for token in reply.tokens]


def test_the_distribution_at_each_position_is_the_one_that_the_answer_was_drawn_from(phi, reply):
    for at, token in enumerate(reply.tokens):
        position = phi.look(HAIKU, ids(reply)[:at])
        assert position.names[token.id] == token.text
        assert distribution(position.logits, position.generated)[token.id] == pytest.approx(token.probability, rel=1e-4)


def test_a_position_brings_the_settings_that_it_was_asked_with():
    settings = {"temperature": 1.5, "top_p": 0.7, "repeat_penalty": 1.3}
    phi = Phi(model="demo", seed=5, max_tokens=8, **settings)
    reply = phi(HAIKU)
    assert any(token.probability != pytest.approx(math.exp(token.logprob)) for token in reply.tokens)
    for at, token in enumerate(reply.tokens):
        position = phi.look(HAIKU, ids(reply)[:at])
        assert distribution(position)[token.id] == pytest.approx(token.probability, rel=1e-4)
    asked = Phi(model="demo").look(HAIKU, position.generated, **settings)
    assert (distribution(asked) == distribution(position)).all()
    assert (distribution(position, temperature=0) == stages(position, temperature=0).kept).all()
    assert distribution(position, temperature=0).max() == 1


def test_going_back_and_forth_gives_the_same_logits_to_the_bit(phi, reply):
    first = phi.look(HAIKU, ids(reply)[:5])
    phi.look(HAIKU, ids(reply)[:9])
    phi.look(HAIKU, ids(reply)[:2])
    phi("Something else")
    assert (phi.look(HAIKU, ids(reply)[:5]).logits == first.logits).all()


def test_after_the_last_token_the_model_ends_its_answer(phi, reply):
    position = phi.look(HAIKU, ids(reply))
    assert int(position.logits.argmax()) in position.ends


def test_a_full_answer_has_no_next_token(phi, reply):
    with pytest.raises(PhiError, match="raise max_tokens"):
        phi.look(HAIKU, ids(reply)[:4], max_tokens=4)
