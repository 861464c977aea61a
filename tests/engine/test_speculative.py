"""Speculative decoding: quicker where the text repeats itself, and never another text."""

import pytest

from phi_magic import Phi
from phi_magic.engine import answer
from phi_magic.engine.engine import Engine
from phi_magic.engine.speculative import EXACT_WIDTHS, WIDTHS, DraftLength, Lookup, widths
from phi_magic.generation.plan import Plan

FLASH = Plan(n_threads=1, flash_attention=True, key_type="q8_0", value_type="q8_0")
PLAIN = Plan(n_threads=1)


class TestLookup:
    def test_drafts_what_followed_the_last_three_tokens_before(self):
        assert Lookup([1, 2, 3, 4, 5, 9, 1, 2, 3]).draft(2) == [4, 5]

    def test_the_newest_place_counts(self):
        assert Lookup([1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3]).draft(1) == [5]

    @pytest.mark.parametrize("tokens", [[], [1], [1, 2, 3], [1, 2, 3, 4, 5, 6]])
    def test_drafts_nothing_where_nothing_stood_before(self, tokens):
        assert Lookup(tokens).draft(5) == []


class TestDraftLength:
    def test_drafts_nothing_before_it_knows_what_a_pass_costs(self):
        assert DraftLength(WIDTHS).width() == 0

    def test_drafts_more_the_more_often_it_was_right(self):
        length = DraftLength(WIDTHS)
        length.took(0, 0.1)
        for _ in range(40):
            length.judge(right=True)
        assert length.width() == max(WIDTHS)

    def test_a_pass_that_costs_more_than_it_brings_is_not_made_again(self):
        length = DraftLength([3])
        length.took(0, 0.1)
        for _ in range(40):
            length.judge(right=True)
        length.took(3, 0.4)
        assert length.width() == 0

    def test_wrong_drafts_end_it(self):
        length = DraftLength(WIDTHS)
        length.took(0, 0.1)
        for _ in range(40):
            length.judge(right=False)
        assert length.width() == 0


def test_only_drafts_that_keep_the_promise_are_made_under_exactness():
    assert widths(PLAIN, exact=True) == ()
    assert widths(FLASH, exact=True) == EXACT_WIDTHS
    assert widths(PLAIN, exact=False) == WIDTHS


@pytest.fixture
def engine(monkeypatch):
    engine = Engine()
    monkeypatch.setattr(Phi, "backend", engine)
    yield engine
    engine.unload()


@pytest.fixture
def always(engine, monkeypatch):
    """Draft always as far as is allowed, so that every draft, right and wrong, is tried."""
    monkeypatch.setattr(DraftLength, "width", lambda self: max(self._widths, default=0))


def repeating(phi, plan, **options):
    """An answer that begins as its prompt goes on, and then goes its own way."""
    prompt = "the old boat waits in the long grass while the small bird sings of snow and the old boat waits"
    first = phi(prompt, raw=True, max_tokens=24, plan=plan)
    again = f"{prompt}{first.text}\n{prompt}"
    begin = [token.id for token in first.tokens[:12]]
    return phi(again, raw=True, begin=begin, plan=plan, max_tokens=60, top_logprobs=3, **options)


@pytest.mark.parametrize("temperature", [0, 1.2])
def test_exact_drafts_give_the_same_logits(always, monkeypatch, temperature):
    phi = Phi(model="demo", seed=5, temperature=temperature, repeat_penalty=1)
    drafted = repeating(phi, FLASH)
    monkeypatch.setattr(answer, "widths", lambda plan, exact: ())
    phi.unload()
    plain = repeating(phi, FLASH)
    assert drafted.text == plain.text
    assert drafted.tokens == plain.tokens  # log-probabilities and alternatives too, to the last digit


@pytest.mark.parametrize("temperature", [0, 1.2])
def test_drafts_without_exactness_draw_as_plain_decoding_does(always, monkeypatch, temperature):
    phi = Phi(model="demo", seed=5, temperature=temperature, repeat_penalty=1)
    drafted = repeating(phi, PLAIN, exact=False)
    monkeypatch.setattr(answer, "widths", lambda plan, exact: ())
    phi.unload()
    plain = repeating(phi, PLAIN, exact=False)
    for ours, theirs in zip(drafted.tokens, plain.tokens, strict=True):
        assert ours.id == theirs.id
        assert ours.logprob == pytest.approx(theirs.logprob, abs=0.05)


def test_a_draft_that_is_not_drawn_leaves_no_trace(always):
    phi = Phi(model="demo", seed=5, exact=False)
    fresh = phi("Write a haiku about ice hockey")
    repeating(phi, PLAIN)
    assert phi("Write a haiku about ice hockey").text == fresh.text
