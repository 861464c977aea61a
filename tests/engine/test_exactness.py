"""The promise: the logits after a prompt and an answer so far are identical, whatever came before or beside."""

import random
import threading
from contextlib import closing
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.__main__ import DEMO
from benchmarks.stand_in import SMALL, write
from phi_magic.engine.batch import WIDE, Batch
from phi_magic.engine.context import SLICE_MIN, Context, slices
from phi_magic.engine.model import Model
from phi_magic.engine.plan import Plan
from phi_magic.interrupt import Interrupted, Stop

PLANS = {
    "as chosen": Plan(n_threads=1),
    "two threads": Plan(n_threads=2),
    "quantised cache": Plan(n_threads=1, flash_attention=True, key_type="q8_0", value_type="q8_0"),
    "quantised keys": Plan(n_threads=1, key_type="q8_0"),
}


@pytest.fixture(scope="module")
def model():
    with closing(Model(DEMO)) as model:
        yield model


class Asker:
    """Asks at random, and knows what a fresh context answers."""

    def __init__(self, model, plan, seed):
        self.model, self.plan, self.random = model, plan, random.Random(seed)
        self.context = Context(model, plan)
        self.prompt = self.tokens(40)
        self.others = [self.tokens(count) for count in (90, 150, 300)]

    def tokens(self, count):
        return [self.random.randrange(300, self.model.n_vocab) for _ in range(count)]

    def fresh(self, prompt, generated):
        context = Context(self.model, Plan(**{**self.plan.to_dict(), "n_threads": 1}))
        try:
            context.prefill(prompt, room=len(prompt) + 50, stop=Stop())
            found = [context.logits.copy()]
            for token in generated:
                context.append(token, stop=Stop())
                found.append(context.logits.copy())
            return found
        finally:
            context.close()

    def ask(self):
        """A prompt that shares some beginning with the last one, and an answer after it."""
        keep = self.random.randrange(len(self.prompt) + 1)
        self.prompt = self.prompt[:keep][-600:] + self.tokens(self.random.randrange(1, 90))
        generated = self.tokens(self.random.randrange(4))
        room = len(self.prompt) + self.random.choice([8, 300, 700])
        self.context.prefill(self.prompt, room=room, stop=Stop())
        found = [self.context.logits.copy()]
        for token in generated:
            self.context.append(token, stop=Stop())
            found.append(self.context.logits.copy())
        return self.same(found, generated)

    def go_back(self):
        """To some place in an answer, and on from there, as branching does."""
        generated = self.tokens(6)
        self.context.follow(self.prompt, generated, room=len(self.prompt) + 20, stop=Stop())
        branch = generated[: self.random.randrange(5)] + self.tokens(2)
        self.context.follow(self.prompt, branch, room=len(self.prompt) + 20, stop=Stop())
        return self.same([self.context.logits.copy()], branch, last=True)

    def interrupt(self):
        stop = Stop()
        prompt = self.prompt + self.tokens(self.random.randrange(1, 900))
        threading.Timer(self.random.random() / 50, stop.set).start()
        try:
            self.context.prefill(prompt, room=len(prompt) + 1, stop=stop)
        except Interrupted:
            return True
        return self.same([self.context.logits.copy()], [], prompt=prompt)

    def change_the_subject(self):
        """Between conversations that have nothing in common, each long enough that its KV state is saved."""
        at = self.random.randrange(len(self.others))
        self.others[at], self.prompt = self.prompt, self.others[at]
        return self.ask()

    def forget(self):
        self.context.close()
        return True

    def same(self, found, generated, *, prompt=None, last=False):
        wanted = self.fresh(prompt or self.prompt, generated)
        wanted = wanted[-1:] if last else wanted
        return all((ours == theirs).all() for ours, theirs in zip(found, wanted, strict=True))


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
@pytest.mark.parametrize("seed", range(3))
def test_logits_are_the_same_bits_after_anything(model, plan, seed):
    asker = Asker(model, plan, seed)
    try:
        often = [asker.ask, asker.change_the_subject]
        acts = [*often, *often, asker.go_back, asker.interrupt, asker.forget]
        for _ in range(25):
            act = asker.random.choice(acts)
            assert act(), act.__name__
    finally:
        asker.context.close()


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
@pytest.mark.parametrize("width", [5, 7, 8, 60])
def test_a_draft_is_kept_only_where_one_pass_gives_the_logits_of_single_passes(model, plan, width):
    asker = Asker(model, plan, seed=1)
    context, evaluated = asker.context, []
    try:
        drafted = asker.tokens(width)
        branch = drafted[:-1] + asker.tokens(2)
        context.prefill(asker.prompt, room=150, stop=Stop())
        context.extend(drafted, stop=Stop())
        real = context._pass
        context._pass = lambda tokens, *rest: evaluated.append(len(tokens)) or real(tokens, *rest)
        context.follow(asker.prompt, branch, room=150, stop=Stop())
        kept = width < 8 and plan.flash_attention
        assert sum(evaluated) == 2 if kept else sum(evaluated) > width
        assert asker.same([context.logits.copy()], branch, last=True)
    finally:
        context.close()


def ended(batch, prompts, mine):
    """Evaluate prompts, and return the logits after one of them, and how many of its tokens came from the prefix."""
    found = None
    for cached in batch.prefill(prompts, stop=Stop()):
        if mine in cached:
            found = batch.logits(mine).copy(), cached[mine]
    return found


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
def test_a_sequence_has_the_same_bits_whatever_the_others_hold(model, plan):
    draw = random.Random(0)

    def tokens(count):
        return [draw.randrange(300, model.n_vocab) for _ in range(count)]

    shared, own, answer = tokens(20), tokens(15), tokens(4)
    whole = shared + own

    def logits(sequences, others, share):
        with closing(Batch(model, plan, sequences=sequences, room=200)) as batch:
            batch.share([share] * sequences, stop=Stop())
            mine = draw.randrange(batch.sequences)
            busy = [sequence for sequence in range(batch.sequences) if sequence != mine][:others]
            list(batch.prefill({sequence: tokens(draw.randrange(1, 90)) for sequence in busy}, stop=Stop()))
            after, cached = ended(batch, {mine: whole}, mine)
            assert cached == len(share)
            found = [after]
            for token in answer:
                batch.decode({**{sequence: tokens(1)[0] for sequence in busy}, mine: token}, stop=Stop())
                found.append(batch.logits(mine).copy())
            return np.array(found)

    alone = logits(WIDE, 0, [])
    for sequences, others, share in [(8, 3, []), (8, 7, shared), (12, 11, whole), (17, 5, shared), (32, 31, shared)]:
        assert (logits(sequences, others, share) == alone).all(), (sequences, others)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """A model with the types of weights of a published one. The shipped model's give the same logits in passes of any length."""
    path = tmp_path_factory.mktemp("stand-in") / "small.gguf"
    write(DEMO, path, SMALL)
    with closing(Model(path)) as model:
        yield model


def singly(model, plan, prompt):
    with closing(Context(model, plan)) as context:
        context.prefill(prompt, room=len(prompt) + 1, stop=Stop())
        return context.logits.copy()


@pytest.mark.parametrize("name", ["as chosen", "quantised cache", "quantised keys"])
def test_prompts_that_share_a_pass_have_the_bits_of_a_pass_alone(stand_in, name):
    plan, draw = PLANS[name], random.Random(0)

    def tokens(count):
        return [draw.randrange(300, stand_in.n_vocab) for _ in range(count)]

    def logits(prompts, mine, share=()):
        with closing(Batch(stand_in, plan, sequences=16, room=100)) as batch:
            batch.share(list(share), stop=Stop())
            after, cached = ended(batch, prompts, mine)
            batch.decode({mine: 7}, stop=Stop())  # which depends on all that the KV cache holds
            return after, batch.logits(mine).copy(), cached

    prefix = tokens(5)
    for length in [1, 2, 3, 7, 8, 20, 45]:
        mine = prefix + tokens(length)
        after, later, _ = logits({0: mine}, 0)
        assert len(mine) < SLICE_MIN or (after == singly(stand_in, plan, mine)).all()
        for others in (1, 6, 13):
            lengths = [max(1, length - draw.randrange(4)) for _ in range(others)]
            prompts = dict(enumerate([prefix + tokens(other) for other in lengths] + [mine]))
            for share in ([], prompts.values(), [prefix] * 20):
                among, later_among, cached = logits(prompts, others, share)
                assert (among == after).all(), (length, lengths, bool(share))
                assert (later_among == later).all(), (length, lengths, bool(share))
                assert cached == (len(prefix) if len(share) == 20 and len(mine) >= SLICE_MIN else cached)


def test_more_rows_of_logits_than_are_asked_for_would_have_other_bits(stand_in):
    """Otherwise the test above could not fail."""
    plan, prompt = PLANS["as chosen"], list(range(300, 312))
    with closing(Batch(stand_in, plan, sequences=8, room=100)) as batch:
        rows = [(token, at, sequence) for sequence in range(8) for at, token in enumerate(prompt)]
        batch._pass(rows, {len(prompt) * (sequence + 1) - 1 for sequence in range(8)}, Stop())
        batch._rows = {0: len(prompt) - 1}
        assert not (batch.logits(0) == singly(stand_in, plan, prompt)).all()


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
def test_a_sequence_that_was_moved_has_the_same_bits(stand_in, plan):
    prompt = list(range(300, 330))

    def logits(*places):
        with closing(Batch(stand_in, plan, sequences=32, room=100)) as batch:
            list(batch.prefill({places[0]: prompt}, stop=Stop()))
            for before, place in pairwise([*places, places[-1]]):
                batch.decode({before: 400}, stop=Stop())
                if place != before:
                    batch.copy(before, place)
            return batch.logits(places[-1]).copy()

    assert (logits(0, 0, 0) == logits(31, 12, 3)).all()


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        (0, []),
        (1, [1]),
        (7, [7]),
        (8, [8]),
        (512, [512]),
        (513, [505, 8]),
        (519, [511, 8]),
        (520, [512, 8]),
        (1030, [512, 510, 8]),
    ],
)
def test_no_slice_is_shorter_than_its_kernels_need(count, sizes):
    assert slices(count) == sizes
