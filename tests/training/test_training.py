"""Packing, and that a seed gives the same bytes."""

from itertools import islice

import numpy as np
import pytest

pytest.importorskip("jax", reason="needs the extra `training`")
pytest.importorskip("sentencepiece", reason="needs the extra `training`")

import jax

from training import batches, corpus, export, tokenizer, train
from training.model import Shape, hidden_states, initialise

SMALL = {"width": 64, "heads": 2, "layers": 1, "feed_forward": 64}


@pytest.fixture(scope="module")
def vocabulary():
    return tokenizer.train(islice(corpus.conversations(1), 5000))


def test_a_packed_conversation_is_read_as_if_it_were_alone(vocabulary):
    shape = Shape(vocab=vocabulary.size, **SMALL)
    params = initialise(shape, jax.random.key(0))
    batch = next(b for b in batches.batches(vocabulary, 2, seed=1) if b.tokens.shape[1] == batches.LENGTHS[0])
    row = 0
    second = batch.segments[row] == 2
    packed = hidden_states(params, shape, batch.tokens, batch.positions, batch.segments)[row][second]
    alone = batch.tokens[row][second][None]
    places = np.arange(alone.shape[1])[None]
    np.testing.assert_allclose(packed, hidden_states(params, shape, alone, places, places * 0)[0], atol=1e-4)


def test_only_what_the_assistant_writes_is_learnt(vocabulary):
    user = vocabulary.special("<|user|>")
    for batch in batches.batches(vocabulary, 2, seed=1):
        learnt = batch.targets[batch.weights > 0]
        assert 0 < len(learnt) <= batches.ANSWERS
        assert user not in learnt
        assert vocabulary.special("<|end|>") in learnt


def test_a_run_gives_the_same_file_whole_or_cut_off_and_gone_on(vocabulary, tmp_path, monkeypatch):
    shape = Shape(vocab=vocabulary.size, **SMALL)

    def run(name, checkpoint=None):
        params = train.train(shape, vocabulary, steps=4, seed=5, checkpoint=checkpoint)
        export.write(tmp_path / name, params, shape, vocabulary)
        return (tmp_path / name).read_bytes()

    def save_and_stop(path, step, tree):
        save(path, step, tree)
        raise KeyboardInterrupt

    save, checkpoint = train._save, tmp_path / "run" / "checkpoint.npz"
    monkeypatch.setattr(train, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(train, "_save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        run("cut-off.gguf", checkpoint)
    monkeypatch.setattr(train, "_save", save)
    assert run("whole.gguf") == run("gone-on.gguf", checkpoint)
