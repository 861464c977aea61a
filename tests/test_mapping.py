"""Many answers at once."""

import os
import signal
import threading

import pytest

from phi_magic import Phi, PhiError, Reply
from phi_magic.recorded import Recorded
from phi_magic.replay import replay

TOPICS = ["the sea", "ice hockey", "snow", "a cat", "rain", "the moon", "tea", "trains", "bees", "the night"]


@pytest.fixture
def phi():
    return Phi(model="demo", temperature=1.0, seed=3, max_tokens=40)


def haiku(topics=TOPICS):
    return [f"Write a haiku about {topic}" for topic in topics]


def texts(replies):
    return [reply.text for reply in replies]


def test_replies_are_in_the_order_of_the_prompts(phi):
    replies = phi.map(haiku(), progress=False)
    assert [reply.prompt for reply in replies] == haiku()
    assert all(reply.text and reply.finish_reason in {"stop", "length"} for reply in replies)
    assert {reply.engine["pass"] for reply in replies} == {"wide"}


def test_an_answer_does_not_depend_on_what_shares_its_passes(phi):
    together = phi.map(haiku(), progress=False)
    alone = [phi.map([prompt], progress=False)[0] for prompt in haiku()]
    many = phi.map(haiku() * 4, progress=False)
    assert texts(alone) == texts(together)
    assert texts(many) == texts(together) * 4
    assert texts(phi.map(haiku(TOPICS[::-1]), progress=False))[::-1] == texts(together)


def test_what_the_prompts_share_is_read_once(phi):
    system = "You are a poet who has seen every season of the year come and go."
    replies = phi.map(haiku(), system=system, progress=False)
    assert all(reply.usage.cached_tokens >= 8 for reply in replies)
    assert texts(replies) == [phi.map([prompt], system=system, progress=False)[0].text for prompt in haiku()]


@pytest.mark.parametrize("options", [{"max_tokens": 4}, {"choices": ["yes", "no"]}])
def test_a_question_is_told_of_as_soon_as_its_prompt_is_read(phi, options):
    stream = phi.stream_all([(prompt, options) for prompt in haiku()])
    with stream.in_order():
        reply = stream.replies[next(stream)]
        assert reply.usage.prompt_tokens > 0
        assert not reply.tokens


def test_each_question_may_have_its_own_options(phi):
    stream = phi.stream_all(
        [("Write a haiku about snow", {"temperature": t, "seed": s}) for t in (0, 1) for s in (1, 2)]
    )
    grown = set(stream)
    assert grown == {0, 1, 2, 3}
    assert stream.replies[0].text == stream.replies[1].text
    assert [reply.params["temperature"] for reply in stream.replies] == [0, 0, 1, 1]


def test_without_a_seed_every_answer_draws_its_own(phi):
    phi.seed = None
    assert len({reply.seed for reply in phi.map(haiku(), progress=False)}) == len(TOPICS)


def test_no_prompts_no_replies(phi):
    assert phi.map([]) == []


def test_a_prompt_that_is_too_long_is_named_before_any_is_answered(phi):
    with pytest.raises(PhiError, match=r"row 2: the prompt has \d+ tokens, the context 128"):
        phi.map([*haiku()[:2], "word " * 200], n_ctx=128, progress=False)


def test_a_bar_shows_how_many_are_done(phi, capsys):
    phi.map(haiku())
    assert "10 of 10 rows" in capsys.readouterr().err


def test_an_interrupt_keeps_what_there_is(slow_model):
    phi = Phi(model=str(slow_model), seed=1)
    stream = phi.stream_all([("write", {"max_tokens": 3}), ("write more", {"max_tokens": 500})])
    pieces = 0
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        for _ in stream:
            pieces += 1
            if pieces == 8:
                threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    first, second = phi.mapped
    assert (first.finish_reason, second.finish_reason) == ("length", "interrupted")
    assert second.text
    assert phi("write", max_tokens=3).text


def test_a_prompt_that_cannot_be_asked_may_stay_alone(phi):
    prompts = [haiku()[0], "word " * 200, "", float("nan"), haiku()[1]]
    replies = phi.map(prompts, n_ctx=128, on_error="keep", progress=False)
    assert texts(replies[::4]) == texts(phi.map(haiku()[:2], n_ctx=128, progress=False))
    refused = replies[1:4]
    assert {(reply.finish_reason, reply.text) for reply in refused} == {("error", "")}
    assert [reply.error.split(":")[0] for reply in refused] == [
        "the prompt has 205 tokens, the context 128",
        "the prompt is empty",
        "the prompt is nan, neither a text nor a list of messages",
    ]
    assert "error: the prompt is empty" in refused[1].stats()
    assert Reply.from_dict(refused[1].to_dict()) == refused[1]
    assert "error" not in replies[0].to_dict()
    outcome = replay(phi, Recorded.of(refused[1], "row 2"))
    assert outcome.failure == "cannot be run again: it has no answer: the prompt is empty: write what to ask"


def test_all_prompts_may_be_refused(phi):
    replies = phi.map(["word " * 200] * 2, n_ctx=128, on_error="keep", progress=False)
    assert [reply.finish_reason for reply in replies] == ["error", "error"]


@pytest.mark.parametrize("options", [{"temperature": 9}, {"on_error": "ignore"}, {"temprature": 1}])
def test_a_wrong_option_is_no_error_of_a_row(phi, options):
    with pytest.raises(PhiError) as error:
        phi.map(haiku(), **{"on_error": "keep", **options}, progress=False)
    assert "row" not in str(error.value)


def test_models_and_profiles_of_one_table_answer_as_each_does_alone(slow_model):
    phi = Phi(seed=1, max_tokens=4)
    options = [
        {"model": model, "profile": profile} for model in ("demo", str(slow_model)) for profile in ("speed", "memory")
    ]

    def told(reply):
        return reply.text, reply.model_sha256, reply.engine["key_type"]

    together = phi.stream_all([("Write about ice", one) for one in options])
    together.run()
    alone = [phi.map(["Write about ice"], progress=False, **one)[0] for one in options]
    assert [told(reply) for reply in together.replies] == [told(reply) for reply in alone]
    assert len({reply.model_sha256 for reply in alone}) == 2
    assert len({reply.engine["key_type"] for reply in alone}) == 2
