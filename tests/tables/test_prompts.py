"""What phi.map takes as prompts, and as their seeds."""

import numpy as np
import pandas as pd
import pytest

from phi_magic import Phi, PhiError
from phi_magic.tables.prompts import questions


@pytest.fixture
def phi():
    return Phi(model="demo", seed=3, max_tokens=5)


@pytest.mark.parametrize(
    ("prompts", "says"),
    [
        ("abc", "a map takes a list of prompts, and got one str"),
        (b"abc", "got one bytes"),
        ({"text": ["a"]}, "got one dict"),
        (5, "a list of prompts, not 5"),
        (pd.DataFrame({"text": ["a"]}), "got a table: give one of its columns"),
    ],
)
def test_what_is_no_list_of_prompts_is_refused(phi, prompts, says):
    with pytest.raises(PhiError, match=says):
        phi.map(prompts)


@pytest.mark.parametrize("prompts", [pd.Series(["a", "b"]), np.array(["a", "b"]), (text for text in "ab")])
def test_a_column_of_texts_is_prompts(prompts):
    assert [prompt for prompt, _ in questions(prompts, {})] == ["a", "b"]


def test_every_row_that_cannot_be_asked_is_named(phi):
    with pytest.raises(PhiError) as error:
        phi.map(["a", float("nan"), "b", " ", None, 5, ""], progress=False)
    assert str(error.value) == (
        "5 of 7 rows cannot be asked. row 1: the prompt is nan, neither a text nor a list of messages; "
        "rows 3, 6: the prompt is empty: write what to ask; row 4: the prompt is None, neither a text nor a list of "
        "messages; row 5: the prompt is 5, neither a text nor a list of messages. "
        "on_error='keep' (--on-error keep) asks the other rows"
    )


def test_each_prompt_has_its_seed(phi):
    replies = phi.map(["Write a haiku"] * 3, seed=[4, 5, 4], progress=False)
    assert [reply.seed for reply in replies] == [4, 5, 4]
    assert replies[0].text == replies[2].text


def test_seeds_must_be_as_many_as_the_prompts(phi):
    with pytest.raises(PhiError, match="there are 2 seeds for 3 prompts: give one for each"):
        phi.map(["a", "b", "c"], seed=[1, 2])
