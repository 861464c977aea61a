"""A reply as plain data."""

import copy

import pytest

from phi_magic import Phi, Reply
from tests.fake_backend import FakeBackend


@pytest.fixture
def plain():
    phi = Phi(model="demo", seed=1)
    phi.backend = FakeBackend("one answer")
    return phi(
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    ).to_dict()


def test_a_reply_made_of_a_record_shares_nothing_with_it(plain):
    plain["engine"] = {"rope": [1]}
    before = copy.deepcopy(plain)
    reply = Reply.from_dict(plain)
    reply.params["stop"].append("END")
    reply.engine["rope"].append(2)
    reply.messages[0]["content"] = "other"
    assert plain == before


def test_a_record_makes_the_reply_again(plain):
    assert Reply.from_dict(plain).to_dict() == plain


@pytest.mark.parametrize("name", ["prompt", "model", "params", "seed", "text", "finish_reason", "usage", "timings"])
def test_a_record_that_lacks_something_is_refused(plain, name):
    del plain[name]
    with pytest.raises((KeyError, ValueError), match=name):
        Reply.from_dict(plain)
