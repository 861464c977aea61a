"""Candle, the reference, and our engine choose the same tokens."""

from __future__ import annotations

import hashlib
import json

import pytest

from benchmarks import agreement
from phi_magic.engine.model import Model

#: Two engines round differently, and ours keeps its cache in 16 bits where Candle has 32. By type of our cache: how near
#: to a tie must have been what is chosen differently (logits), within an answer and anywhere in the 60 tokens, of how many
#: of the 3,000 choices that may be so, and how many of the 50 answers must be the same to their end. Beyond its end a text
#: is like none that the model has seen, and small differences grow.
BOUNDS = {"f16": (0.05, 0.3, 60, 35), "f32": (0.05, 0.3, 30, 45)}


@pytest.fixture(scope="module")
def model():
    model = Model(agreement.MODEL)
    yield model
    model.close()


@pytest.fixture(scope="module")
def vectors():
    vectors = json.loads(agreement.VECTORS.read_text())
    made = hashlib.sha256(agreement.MODEL.read_bytes()).hexdigest() == vectors["model_sha256"]
    assert made, "the shipped model is another one by now: run `python -m benchmarks.agreement`"
    return vectors


@pytest.mark.parametrize("cache", BOUNDS)
def test_we_choose_what_candle_chose(model, vectors, cache):
    check(model, vectors["prompts"], vectors["answers"], cache)


def test_candle_chooses_so_still(model, vectors):
    program = agreement.FOLDER / "candle-native" / "release" / "phi-candle"
    if not program.exists():
        pytest.skip("benchmarks/candle is not built: where cargo is, `make candle` builds it, and this test runs it")
    check(model, vectors["prompts"], agreement.run_candle(program, vectors["prompts"]), "f32")


def test_the_prompts_are_those_of_the_model(model, vectors):
    assert agreement.prompts(model) == vectors["prompts"]


def check(model, asked, answers, cache):
    near, near_anywhere, few, same = BOUNDS[cache]
    assert len(asked) == 50
    assert all(len(answer["tokens"]) == 60 for answer in answers)
    found = list(agreement.differences(model, asked, answers, cache))
    assert not [one for one in found if one.margin > near_anywhere]
    assert len(found) <= few
    inside = [one for one in found if one.step <= agreement.end(model, answers[one.prompt])]
    assert not [one for one in inside if one.margin > near]
    assert len(asked) - len({one.prompt for one in inside}) >= same
