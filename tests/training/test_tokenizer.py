"""Training reads a conversation as the very tokens that the engine makes of it."""

from itertools import islice

import pytest

pytest.importorskip("jax", reason="needs the extra `training`")
pytest.importorskip("sentencepiece", reason="needs the extra `training`")

import jax

from phi_magic.engine.model import Model
from phi_magic.prompt.rendering import render
from training import corpus, export, tokenizer
from training.model import Shape, initialise


@pytest.fixture(scope="module")
def vocabulary():
    return tokenizer.train(islice(corpus.conversations(1), 5000))


@pytest.fixture(scope="module")
def model(vocabulary, tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    shape = Shape(vocab=vocabulary.size, layers=1)
    export.write(path, initialise(shape, jax.random.key(0)), shape, vocabulary)
    loaded = Model(path)
    yield loaded
    loaded.close()


STRANGE = ["  indented\n\n    more  ", "élan — ünï 🎏", "a\tb\x00c", "<|end|> is plain text", "", "\n\n", "x" * 300]


def test_every_conversation_has_the_engines_tokens(vocabulary, model):
    for *talk, _ in islice(corpus.conversations(2), 500):  # asked: the last message is the user's
        tokens, _ = vocabulary.encode_conversation(talk)
        messages = [message._asdict() for message in talk]
        rendered = render(messages, template=model.chat_template, controls=model.controls)
        assert model.tokenize(rendered.text) == [*tokens, vocabulary.special("<|assistant|>")]


@pytest.mark.parametrize("text", STRANGE)
def test_strange_text_survives_in_both(text, vocabulary, model):
    tokens = vocabulary.encode(f"x{text}")
    assert vocabulary.decode(tokens) == f"x{text}"
    assert b"".join(map(model.piece, tokens)).decode() == f" x{text}"


def test_the_answers_and_their_ends_are_what_is_learnt(vocabulary):
    talk = [corpus.Message("user", "Repeat: ice"), corpus.Message("assistant", "ice")]
    tokens, answers = vocabulary.encode_conversation(talk)
    learnt = [token for token, answer in zip(tokens, answers, strict=True) if answer]
    assert learnt == [*vocabulary.encode("ice"), vocabulary.special("<|end|>")]


def test_the_engine_knows_the_end_of_an_answer(vocabulary, model):
    assert model.ends(vocabulary.special("<|end|>"))
    assert model.ends(vocabulary.special("<|endoftext|>"))
    assert not model.ends(vocabulary.special("<|user|>"))


def test_the_same_conversations_give_the_same_vocabulary(vocabulary):
    assert tokenizer.train(islice(corpus.conversations(1), 5000)).model == vocabulary.model
