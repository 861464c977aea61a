"""The probabilities of the next token: those of the reference, and those that the decode loop draws from."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from phi_magic import PhiError, distribution
from phi_magic.draws import draw
from phi_magic.engine.sampler import Sampler
from phi_magic.generation.request import SamplingParameters
from phi_magic.sampling import CUTTING, Sampling, stages

CANDLE = json.loads((Path(__file__).parent / "data" / "candle_sampling.json").read_text())
LOGITS = np.array(CANDLE["logits"], dtype=np.float32)
GENERATED = CANDLE["generated"]


def params(case):
    return {name: value for name, value in case.items() if name not in ("name", "counts")}


def same_distribution(counts, expected, draws):
    """Chi-square over the tokens that can be drawn; those that cannot must never have been."""
    counts = np.asarray(counts)
    assert not counts[expected == 0].any()
    kept = expected * draws >= 5
    observed, wanted = counts[kept], expected[kept] * draws
    rest = draws - wanted.sum()
    if rest >= 5:
        observed, wanted = np.append(observed, draws - observed.sum()), np.append(wanted, rest)
    else:
        wanted = wanted * observed.sum() / wanted.sum()
    return len(wanted) == 1 or chisquare(observed, wanted).pvalue > 1e-4


@pytest.mark.parametrize("case", CANDLE["cases"], ids=lambda case: case["name"])
def test_the_distribution_is_the_one_candle_draws_from(case):
    p = distribution(LOGITS, GENERATED, **params(case))
    assert p.sum() == pytest.approx(1)
    assert same_distribution(np.asarray(case["counts"]), p, CANDLE["draws"])


@pytest.mark.parametrize("case", CANDLE["cases"], ids=lambda case: case["name"])
def test_the_decode_loop_draws_from_the_distribution(case):
    p = distribution(LOGITS, GENERATED, **params(case))
    draws = 3_000
    counts = Counter()
    for seed in range(draws):
        sampler = Sampler(Sampling(**params(case)), seed, len(LOGITS))
        sampler.accept(GENERATED)
        draw = sampler.draw(LOGITS)
        sampler.close()
        counts[draw.token] += 1
        assert draw.probability == pytest.approx(p[draw.token], rel=1e-4)
    assert same_distribution([counts[token] for token in range(len(LOGITS))], p, draws)


def parameters():
    return st.fixed_dictionaries(
        {
            "temperature": st.one_of(st.just(0.0), st.floats(0.05, 5)),
            "top_p": st.floats(0, 1),
            "top_k": st.integers(0, 60),
            "min_p": st.floats(0, 1),
            "repeat_penalty": st.floats(0.5, 3),
            "repeat_last_n": st.integers(0, 100),
        }
    )


@settings(deadline=None, max_examples=300)
@given(parameters(), st.lists(st.integers(0, 39), max_size=90), st.integers(0, 2**32 - 2))
def test_what_is_drawn_has_the_probability_that_distribution_says(params, generated, seed):
    p = distribution(LOGITS, generated, **params)
    sampler = Sampler(Sampling(**params), seed, len(LOGITS))
    sampler.accept(generated)
    draw = sampler.draw(LOGITS)
    sampler.close()
    # llama.cpp sums in single precision: a token at the very edge of the nucleus may fall on the other side
    edge = distribution(LOGITS, generated, **{**params, "top_p": min(1, params["top_p"] + 1e-5)})
    assert draw.probability == pytest.approx(p[draw.token], rel=1e-3) or draw.probability == pytest.approx(
        edge[draw.token], rel=1e-3
    )


def test_the_log_probability_is_the_models_own():
    sampler = Sampler(Sampling(temperature=0, repeat_penalty=1), 0, len(LOGITS))
    draw = sampler.draw(LOGITS)
    sampler.close()
    own = np.log(distribution(LOGITS, temperature=1, top_p=1, repeat_penalty=1))
    assert draw.token == LOGITS.argmax()
    assert draw.logprob == pytest.approx(own[draw.token], rel=1e-5)
    assert (draw.rank, draw.probability) == (1, 1.0)


def test_logits_are_left_as_they_were():
    before = LOGITS.copy()
    distribution(LOGITS, GENERATED, temperature=0.3)
    assert (before == LOGITS).all()


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        ((LOGITS,), {"temprature": 1}, "temprature"),
        ((LOGITS,), {"temperature": -1}, "temperature"),
        ((LOGITS,), {"temperature": float("nan")}, "temperature"),
        ((LOGITS,), {"top_p": 1.5}, "top_p"),
        (([[1.0, 2.0]],), {}, "vector"),
        (([],), {}, "vector"),
        (([1.0, float("nan")],), {}, "vector"),
        ((LOGITS, [40]), {}, "vocabulary"),
    ],
)
def test_wrong_arguments_are_refused_by_name(arguments, options, says):
    with pytest.raises(PhiError, match=says):
        distribution(*arguments, **options)


class TestStages:
    LOGITS = (4.0, 3.0, 2.0, 1.0, 0.0, -1.0)

    def test_each_stage_is_a_distribution_and_the_last_is_what_is_drawn_from(self):
        params = {"temperature": 1.5, "top_p": 0.9, "top_k": 3, "min_p": 0.2, "repeat_penalty": 1.3}
        seen = stages(self.LOGITS, [0, 3], **params)
        for p in (seen.raw, seen.penalised, seen.tempered, seen.kept):
            assert p.sum() == pytest.approx(1)
        assert (seen.kept == distribution(self.LOGITS, [0, 3], **params)).all()
        assert ((seen.kept == 0) == (seen.cut >= 0)).all()

    def test_the_penalty_shows_in_its_stage_and_the_temperature_in_its_own(self):
        seen = stages(self.LOGITS, [0], temperature=2, top_p=1, repeat_penalty=2)
        assert seen.raw.argmax() == 0
        assert seen.penalised.argmax() == 1
        assert seen.tempered.max() < seen.penalised.max()

    def test_a_cut_token_names_the_first_parameter_that_cut_it(self):
        seen = stages(self.LOGITS, temperature=1, top_p=0.95, top_k=2, min_p=0.5, repeat_penalty=1)
        named = [CUTTING[cut] if cut >= 0 else "" for cut in seen.cut]
        assert named == ["", "min_p", "top_k", "top_p", "top_p", "top_p"]

    def test_greedy_leaves_one_and_says_that_the_temperature_did_it(self):
        seen = stages(self.LOGITS, temperature=0)
        assert seen.kept.tolist() == [1, 0, 0, 0, 0, 0]
        assert {CUTTING[cut] for cut in seen.cut[1:]} == {"temperature"}


def test_scores_that_are_no_numbers_are_one_line():
    damaged = LOGITS.copy()
    damaged[7] = np.nan
    sampler = Sampler(Sampling(), 0, len(LOGITS))
    with pytest.raises(PhiError, match="not numbers"):
        sampler.draw(damaged)
    sampler.close()


def test_a_users_error_state_of_numpy_changes_nothing():
    logits = np.array([0.0, -800.0, 3.0, -2000.0])
    expected = distribution(logits, [0], temperature=0.1)
    number = draw(logits, [0], 0.5, SamplingParameters(temperature=0.1))
    with np.errstate(all="raise"):
        assert (distribution(logits, [0], temperature=0.1) == expected).all()
        assert draw(logits, [0], 0.5, SamplingParameters(temperature=0.1)) == number
