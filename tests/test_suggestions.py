"""A mistyped name is answered with the ones that it may have meant."""

import pytest

from phi_magic.models.known import KNOWN
from phi_magic.suggestions import closest, did_you_mean


@pytest.mark.parametrize(
    ("name", "models"),
    [
        ("phi3", ["phi-3-mini-4k", "phi-3.5-mini"]),
        ("phi-3", ["phi-3-mini-4k", "phi-3.5-mini"]),
        ("phi3mini", ["phi-3-mini-4k"]),
        ("Phi3.5", ["phi-3.5-mini"]),
        ("phi4mini", ["phi-4-mini"]),
        ("phi_4_mini", ["phi-4-mini"]),
        ("phi4", ["phi-4"]),
        ("phi4minireasoning", ["phi-4-mini-reasoning"]),
        ("phi-4-reasoning", ["phi-4-reasoning-plus"]),
        ("dmo", ["demo"]),
        ("", []),
        ("--", []),
        ("\ud800", []),
        ("gpt", []),
    ],
)
def test_the_model_that_was_meant_is_found(name, models):
    assert closest(name, KNOWN) == models


@pytest.mark.parametrize(
    ("name", "question"),
    [
        ("shw", "; did you mean show?"),
        ("sh", "; did you mean show, shut or shine?"),
        ("re", "; did you mean read or reset?"),
        ("nothing like it", ""),
    ],
)
def test_the_question_names_them(name, question):
    assert did_you_mean(name, ["show", "shut", "read", "shine", "reset"]) == question
