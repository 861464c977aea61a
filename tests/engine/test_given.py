"""A text that somebody else wrote: every token's probability, in a few passes."""

import math

import pytest

from phi_magic import Phi, PhiError
from phi_magic.engine.engine import Engine
from phi_magic.widgets.explorer import Explorer
from phi_magic.widgets.token_view import TokenView

PROMPT = "Write a haiku about ice hockey"


@pytest.fixture
def phi():
    phi = Phi(model="demo", seed=1)
    phi.backend = engine = Engine()
    yield phi
    engine.unload()


def test_the_records_are_those_of_decoding_the_same_tokens(phi):
    written = phi(PROMPT, top_logprobs=3)
    scored = phi.score(PROMPT, written.text, top_logprobs=3)
    assert [token.id for token in scored.tokens] == [token.id for token in written.tokens]
    assert scored.text == written.text
    assert [token.rank for token in scored.tokens] == [token.rank for token in written.tokens]
    assert scored.tokens[0] == written.tokens[0]  # of a prompt's slice in both; the others differ in their kind of pass
    for one, other in zip(scored.tokens, written.tokens, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-2)
        assert one.probability == pytest.approx(other.probability, abs=1e-2)
        assert [chance.id for chance in one.top] == [chance.id for chance in other.top]


def test_the_bits_do_not_depend_on_what_was_asked_before(phi):
    text = "Cold wind on the rink. " * 12
    fresh = phi.score(PROMPT, text)
    phi("snow " * 100, max_tokens=3)
    phi(PROMPT, max_tokens=9)
    again = phi.score(PROMPT, text)
    assert again.tokens == fresh.tokens
    assert again.usage.cached_tokens > 0
    beginning = phi.score(PROMPT, "Cold wind on the rink.")
    assert beginning.tokens == fresh.tokens[: len(beginning.tokens)]


def test_a_text_without_a_prompt_is_explored_and_branched(phi):
    scored = phi.score("", "Skates cut the ice", raw=True, top_logprobs=3)
    explorer = Explorer.of(scored)
    explorer.begin()
    explorer.wait()
    assert "step 1 of 7" in explorer.status.widget.value
    [walk] = [column.walk for column in explorer.columns]
    assert (walk.at, [token.id for token in walk.path]) == (0, [token.id for token in scored.tokens])
    explorer.go(2)
    explorer.wait()
    assert walk.at == 2
    explorer.close()
    view = TokenView(scored)
    view.branch(0, 1, scored.tokens[1].top[-1].id)
    view.wait()
    branch = view.replies[1]
    assert branch.tokens[0] == scored.tokens[0]
    assert branch.text.startswith(scored.tokens[0].text.strip("▁"))
    view.close()


def test_answers_after_it_have_the_bits_of_a_fresh_context(phi):
    fresh = phi(PROMPT)
    phi.score(PROMPT, fresh.text[:30])
    assert phi(PROMPT).tokens == fresh.tokens


def test_log_probability_and_perplexity_are_of_all_tokens(phi):
    reply = phi.score(PROMPT, "Skates cut the ice")
    assert reply.logprob == pytest.approx(sum(token.logprob for token in reply.tokens))
    assert reply.perplexity == pytest.approx(math.exp(-reply.logprob / len(reply.tokens)))
    assert math.isnan(type(reply)("x", "demo", {}, 1).perplexity)
    nonsense = phi.score(PROMPT, "ice the Skates cut")
    assert nonsense.perplexity > reply.perplexity


def test_a_control_token_in_it_is_text(phi):
    reply = phi.score(PROMPT, "ice <|end|> and snow")
    assert reply.text == "ice <|end|> and snow"
    assert reply.finish_reason == "length"


def test_what_cannot_be_evaluated_is_refused_in_one_line(phi):
    with pytest.raises(PhiError, match="the text is empty"):
        phi.score(PROMPT, "")
    with pytest.raises(PhiError, match=r"prompt and text have \d+ tokens, the context 64: raise n_ctx"):
        phi.score(PROMPT, "ice and snow " * 60, n_ctx=64)
