"""A model with two sets of RoPE factors: a request's own room decides which apply, whatever came before or beside."""

import random
from contextlib import closing

import numpy as np
import pytest

from phi_magic.engine import context as contexts
from phi_magic.engine.batch import WIDE, Batch
from phi_magic.engine.context import Context
from phi_magic.engine.model import Model
from phi_magic.engine.plan import Plan
from phi_magic.gguf.checks import read_header
from phi_magic.interrupt import Stop
from tests.architectures import ARCHITECTURES, BORDER, write

PLAN = Plan(n_threads=1)
QUANTISED = Plan(n_threads=1, flash_attention=True, key_type="q8_0", value_type="q8_0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("longrope")


def load(path, *, border=BORDER):
    write(path, ARCHITECTURES["phi3"], border=border)
    return Model(path, border=read_header(path).rope_border)


@pytest.fixture(scope="module")
def model(folder):
    with closing(load(folder / "model.gguf")) as model:
        yield model


def tokens(count, seed=0):
    draw = random.Random(seed)
    return [draw.randrange(10, 280) for _ in range(count)]


def read(context, prompt, room, answer=(), **options):
    """The logits after a prompt and an answer, and how many of the prompt's tokens were in the KV cache already."""
    cached = context.prefill(prompt, room=room, stop=Stop(), **options)
    for token in answer:
        context.append(token, stop=Stop())
    return context.logits.copy(), cached


def fresh(model, prompt, room, answer=(), plan=PLAN):
    with closing(Context(model, plan)) as context:
        return read(context, prompt, room, answer)[0]


def same(one, two):
    return bool((one == two).all())


def test_the_stand_in_answers_differently_beyond_the_border(model):
    """Otherwise no test here could fail."""
    prompt = tokens(100)
    assert not same(fresh(model, prompt, BORDER), fresh(model, prompt, BORDER + 1))
    assert same(fresh(model, prompt, 200), fresh(model, prompt, BORDER))
    assert same(fresh(model, prompt, BORDER + 1), fresh(model, prompt, 3 * BORDER))


@pytest.mark.parametrize("plan", [PLAN, QUANTISED], ids=["as chosen", "quantised cache"])
@pytest.mark.parametrize("seed", range(4))
def test_requests_in_any_order_have_the_logits_of_a_fresh_context(model, plan, seed):
    draw = random.Random(seed)
    prompts = [tokens(count, count) for count in (20, 120, 250, 400)]
    with closing(Context(model, plan)) as context:
        for _ in range(20):
            prompt = draw.choice(prompts)[: draw.randrange(10, 400)] + tokens(draw.randrange(60), draw.random())
            room = len(prompt) + draw.choice([4, 40, 200, 700])
            answer = tokens(draw.randrange(3), draw.random())
            assert same(read(context, prompt, room, answer)[0], fresh(model, prompt, room, answer, plan))


@pytest.mark.parametrize("exact", [True, False])
def test_a_conversation_that_grows_across_the_border_is_read_again_with_the_long_factors(model, exact):
    prompt = tokens(300)
    with closing(Context(model, PLAN)) as context:
        for length in (100, 300):
            read(context, prompt[:length], length + 50, tokens(5), exact=exact)
        longer = [*prompt[:300], *tokens(5), *tokens(200, 1)]
        logits, cached = read(context, longer, len(longer) + 50, exact=exact)
        assert cached == 0
        assert same(logits, fresh(model, longer, len(longer) + 50))
        logits, cached = read(context, [*longer, *tokens(40, 2)], len(longer) + 90, exact=exact)
        assert cached >= len(longer) - 8  # from here on as ever
        assert same(logits, fresh(model, [*longer, *tokens(40, 2)], len(longer) + 90))


def test_a_saved_kv_state_serves_requests_of_its_own_side_alone(model):
    prompt, long = tokens(200), 2 * BORDER
    short_logits, long_logits = fresh(model, prompt, 300), fresh(model, prompt, long)
    with closing(Context(model, PLAN)) as context:
        read(context, prompt, 300)
        logits, cached = read(context, prompt, long)
        assert (cached, same(logits, long_logits)) == (0, True)
        logits, cached = read(context, prompt, 300)
        assert (cached, same(logits, short_logits)) == (192, True)
        logits, cached = read(context, prompt, long)
        assert (cached, same(logits, long_logits)) == (192, True)


def test_a_branch_is_decoded_again_where_the_factors_differ(model):
    prompt, answer = tokens(100), tokens(6, 1)
    with closing(Context(model, PLAN)) as context:
        for room in (BORDER, 2 * BORDER, BORDER):
            context.follow(prompt, answer, room=room, stop=Stop())
            branch = [*answer[:3], 20]
            context.follow(prompt, branch, room=room, stop=Stop())
            assert same(context.logits, fresh(model, prompt, room, branch))


@pytest.mark.parametrize("room", [250, 2 * BORDER])
def test_a_sequence_of_a_batch_has_the_factors_of_the_batchs_room(model, room):
    prompt, answer = tokens(100), tokens(3, 1)

    def logits(sequences, others):
        with closing(Batch(model, PLAN, sequences=sequences, room=room)) as batch:
            for sequence in range(others):
                list(batch.prefill({sequence + 1: tokens(50, sequence)}, stop=Stop()))
            list(batch.prefill({0: prompt}, stop=Stop()))
            for token in answer:
                batch.decode(dict.fromkeys(range(others + 1), token), stop=Stop())
            return batch.logits(0).copy()

    alone = logits(WIDE, 0)
    assert same(alone, logits(2 * WIDE, 2 * WIDE - 1))
    np.testing.assert_allclose(alone, fresh(model, prompt, room, answer), atol=0.1)
    other_side = fresh(model, prompt, 3 * BORDER - room, answer)
    assert np.abs(alone - other_side).max() > 1


def test_a_border_between_two_sizes_of_llama_cpps_contexts_acts_like_the_lower_one(folder):
    with closing(load(folder / "odd.gguf", border=BORDER + 100)) as model:
        prompt = tokens(100)
        factors = [model.rope_factors(room) for room in (BORDER, BORDER + 1, BORDER + 100, BORDER + 101)]
        assert factors == ["short", "long", "long", "long"]
        assert same(fresh(model, prompt, BORDER + 1), fresh(model, prompt, BORDER + 101))
        assert not same(fresh(model, prompt, BORDER), fresh(model, prompt, BORDER + 1))


def test_a_model_with_one_set_of_factors_has_no_border(folder):
    with closing(load(folder / "one.gguf", border=0)) as model:
        assert {model.rope_factors(room) for room in (1, BORDER, 10 * BORDER)} == {None}
        with closing(Context(model, PLAN)) as context:
            read(context, tokens(200), 300)
            assert read(context, tokens(200), 2 * BORDER)[1] == 192


def test_short_states_are_not_saved_when_the_side_changes(model):
    with closing(Context(model, PLAN)) as context:
        read(context, tokens(contexts.WORTH - 1), 100)
        read(context, tokens(20, 1), 2 * BORDER)
        assert read(context, tokens(contexts.WORTH - 1), 100)[1] == 0
