"""One of some texts: its probability is that of its tokens and of the end, whatever else is asked."""

import math

import numpy as np
import pytest

from phi_magic import Phi, PhiError
from phi_magic.engine import width
from phi_magic.engine.batch import Batch
from phi_magic.engine.engine import Engine
from phi_magic.generation.worker import Worker
from phi_magic.sampling import stages

QUESTION = "Is ice cold?"
CHOICES = ["yes", "no", "yes it is", "perhaps"]


@pytest.fixture
def phi():
    phi = Phi(model="demo", seed=1)
    phi.backend = engine = Engine()
    yield phi
    engine.unload()


def decoded(phi, prompt, choice):
    """The logarithm of a choice's probability, from the logits of plain decoding."""
    ids = [token.id for token in phi.score(prompt, choice).tokens]
    total = 0.0
    for at in range(len(ids) + 1):
        position = phi.look(prompt, ids[:at])
        p = stages(position.logits).raw
        total += math.log(p[ids[at]] if at < len(ids) else sum(p[end] for end in position.ends))
    return total


def test_the_probabilities_are_those_of_decoding_each_and_the_end(phi):
    reply = phi(QUESTION, choices=CHOICES)
    scores = np.array([decoded(phi, QUESTION, choice) for choice in CHOICES])
    expected = np.exp(scores - scores.max())
    expected /= expected.sum()
    assert list(reply.choices) == CHOICES
    assert sum(reply.choices.values()) == pytest.approx(1)
    assert list(reply.choices.values()) == pytest.approx(expected.tolist(), rel=1e-2)


def test_the_worker_gives_the_same_bits(phi):
    ours = phi(QUESTION, choices=CHOICES)
    phi.backend = worker = Worker()
    theirs = phi(QUESTION, choices=CHOICES)
    worker.close()
    assert theirs.choices == ours.choices
    assert theirs.tokens == ours.tokens


@pytest.mark.parametrize("model", ["demo", "slow"])
def test_a_row_does_not_depend_on_the_others(phi, model, slow_model):
    phi.model = str(slow_model) if model == "slow" else "demo"
    prompts = [f"Is {thing} cold?" for thing in ("ice", "tea", "the sea in winter", "snow", "a hot stove", "rain")]
    together = phi.map(prompts, choices=CHOICES, progress=False)
    alone = [phi(prompt, choices=CHOICES) for prompt in prompts]
    backwards = phi.map(prompts[::-1], choices=CHOICES, progress=False)[::-1]
    among = phi.stream_all(
        [
            ("Write a haiku", {"max_tokens": 9}),
            *[(prompt, {"choices": CHOICES}) for prompt in prompts],
            (QUESTION, {"choices": ["hot", "rather cold, I think"]}),
        ]
    )
    among.run()
    for one in (alone, backwards, among.replies[1:-1]):
        assert [reply.choices for reply in one] == [reply.choices for reply in together]
        assert [reply.text for reply in one] == [reply.text for reply in together]
    assert among.replies[0].text == phi.map(["Write a haiku"], max_tokens=9, progress=False)[0].text
    assert set(among.replies[-1].choices) == {"hot", "rather cold, I think"}


def test_more_choices_than_sequences_are_evaluated_one_part_after_the_other(phi, monkeypatch):
    fifty = [f"number {number}" for number in range(50)]
    whole = phi(QUESTION, choices=fifty)
    monkeypatch.setattr(width, "MOST", 8)
    parts = phi(QUESTION, choices=fifty)
    assert len(parts.choices) == 50
    assert parts.choices == whole.choices
    assert parts.tokens == whole.tokens


def test_many_rows_have_a_sequence_each_and_their_choices_stand_there_in_turn(phi, monkeypatch):
    calls = []

    def noted(name, real):
        return lambda *arguments, **options: [
            calls.append((name, options.get("sequences"))),
            real(*arguments, **options),
        ][1]

    for name in ("__init__", "prefill", "copy"):
        monkeypatch.setattr(Batch, name, noted(name, getattr(Batch, name)))
    prompts = [f"Is {number} cold?" for number in range(40)]
    together = phi.map(prompts, choices=CHOICES, progress=False)
    assert calls == [("__init__", 40), ("prefill", None)]
    for number in (0, 17, 39):  # alone there is a sequence for each choice
        alone = phi(prompts[number], choices=CHOICES)
        assert (alone.choices, alone.tokens) == (together[number].choices, together[number].tokens)


def test_greedy_takes_the_likeliest_and_temperature_the_others_too(phi):
    likeliest = phi(QUESTION, choices=CHOICES, temperature=0)
    assert likeliest.text == max(likeliest.choices, key=likeliest.choices.get)
    assert likeliest.finish_reason == "stop"
    drawn = [phi(QUESTION, choices=CHOICES, temperature=5, top_p=1, seed=seed) for seed in range(30)]
    assert len({reply.text for reply in drawn}) > 1
    assert all(reply.choices == likeliest.choices for reply in drawn)
    assert [phi(QUESTION, choices=CHOICES, temperature=5, top_p=1, seed=4).text] == [drawn[4].text]


@pytest.mark.parametrize("choice", ["yes, it is — ❄ and 冰", "<|end|>", " with spaces "])
def test_the_text_is_the_choice_as_it_was_given(phi, choice):
    reply = phi(QUESTION, choices=[choice, choice + "!"], temperature=0)
    assert reply.text in (choice, choice + "!")
    assert not any(phi.look(QUESTION).ends & {token.id} for token in reply.tokens)


def test_the_tokens_of_the_chosen_text_have_records(phi):
    reply = phi(QUESTION, choices=CHOICES, temperature=0, top_logprobs=3)
    assert reply.usage.completion_tokens == len(reply.tokens) > 0
    assert all(len(token.top) == 3 and token.logprob <= 0 for token in reply.tokens)


def test_they_go_on_in_a_conversation(phi):
    chat = phi.chat("choices")
    chat.reset()
    chat("Write a haiku", max_tokens=20)
    reply = chat("Did you like it?", choices=["yes", "no"])
    alone = phi([*reply.messages, {"role": "user", "content": "Did you like it?"}], choices=["yes", "no"])
    assert reply.choices == alone.choices
    assert chat.messages[-1]["content"] == reply.text


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ("yes", "choices must be a list of texts, not 'yes'"),
        (["yes", 1], "each of choices must be a text, not 1"),
        (["yes"], "two texts or more"),
        (["yes", "yes"], "all different"),
        (["yes", ""], "none empty"),
        (["yes", "no " * 200], "it may have 1 to 64"),
    ],
)
def test_what_cannot_be_chosen_from_is_refused_in_one_line(phi, choices, message):
    with pytest.raises(PhiError, match=message):
        phi(QUESTION, choices=choices)
    with pytest.raises(PhiError, match="neither schema nor begin"):
        phi(QUESTION, choices=["yes", "no"], schema={"type": "object"})


def test_a_prompt_that_leaves_no_room_for_them_is_refused(phi):
    with pytest.raises(PhiError, match="the context 64"):
        phi("ice " * 60, choices=CHOICES, n_ctx=64)
