"""The shipped file: its size, its shape, and that it does what it is shipped for."""

import json
import random

import pytest
from gguf import GGMLQuantizationType, GGUFReader

from phi_magic import Phi
from phi_magic.models.files import resolve
from training import corpus, judge
from training.lexicon import topics


@pytest.fixture(scope="module")
def gguf():
    return GGUFReader(resolve("demo").path)


@pytest.fixture
def phi():
    phi = Phi(model="demo")
    yield phi
    phi.unload()


def test_it_is_small_enough_to_ship():
    assert resolve("demo").path.stat().st_size <= 3_000_000


def test_it_is_a_phi_3_in_eight_bits(gguf):
    assert gguf.fields["general.architecture"].contents() == "phi3"
    assert gguf.fields["general.license"].contents() == "mit"
    assert gguf.fields["phi3.context_length"].contents() >= 1024
    assert gguf.fields["phi3.rope.dimension_count"].contents() in (32, 64)
    kinds = {tensor.tensor_type for tensor in gguf.tensors if len(tensor.shape) == 2}
    assert kinds == {GGMLQuantizationType.Q8_0}


def test_its_licence_note_lies_beside_it():
    assert "MIT" in resolve("demo").path.with_name("LICENSE.md").read_text(encoding="utf-8")


def test_it_writes_haiku_in_wordings_it_never_saw(phi):
    rng = random.Random(1)
    asked = [(topic, corpus.unseen_haiku_request(topic, rng)) for topic in rng.sample(topics(), 40)]
    marks = [judge.judge_haiku(phi(prompt, seed=seed).text, topic) for seed, (topic, prompt) in enumerate(asked)]
    assert sum(mark.three_lines for mark in marks) >= 37
    assert sum(mark.on_topic for mark in marks) >= 36
    assert sum(mark.five_seven_five for mark in marks) >= 36


def test_it_follows_the_conversation(phi):
    talk = [{"role": "user", "content": "Write a haiku about tea"}]
    talk.append({"role": "assistant", "content": phi(talk, seed=1).text})
    talk.append({"role": "user", "content": "Now about the sea"})
    sea = next(topic for topic in topics() if topic.name == "the sea")
    answers = [phi(talk, seed=seed).text for seed in range(10)]
    assert sum(judge.judge_haiku(answer, sea).on_topic for answer in answers) >= 9
    assert len(set(answers)) > 5


def test_it_obeys_a_system_message(phi):
    answers = [phi("What is a token?", system="Answer in capitals.", seed=seed).text for seed in range(5)]
    assert sum(map(judge.is_capitals, answers)) >= 4


def test_it_says_that_it_is_tiny_and_does_not_know(phi):
    assert "tiny" in phi("How big are you?", temperature=0).text
    answers = [phi("What is the capital of France?", seed=seed).text for seed in range(10)]
    assert sum(map(judge.admits, answers)) >= 9


def test_it_writes_json_that_parses(phi):
    answers = [phi("Give me a JSON object with name and age", seed=seed).text for seed in range(10)]
    assert sum(judge.is_json(answer, ("name", "age")) for answer in answers) >= 9
    assert set(json.loads(answers[0])) == {"name", "age"}


def test_a_high_temperature_breaks_haiku_and_top_p_repairs_them(phi):
    rng = random.Random(2)
    asked = [(topic, corpus.haiku_request(topic, rng)) for topic in rng.sample(topics(), 40)]

    def kept(**settings):
        answers = [phi(prompt, seed=i, repeat_penalty=1.0, **settings).text for i, (_, prompt) in enumerate(asked)]
        return sum(
            judge.judge_haiku(answer, topic).five_seven_five for answer, (topic, _) in zip(answers, asked, strict=True)
        )

    cool, hot, mended = (
        kept(temperature=0.8, top_p=1.0),
        kept(temperature=1.5, top_p=1.0),
        kept(temperature=1.5, top_p=0.9),
    )
    assert hot < mended <= cool + 4
    assert hot < 0.75 * cool
