"""A request is plain data with one canonical form, of which a hash is taken."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from dataclasses import fields, replace

import pytest

from phi_magic import Phi
from phi_magic.generation.plan import Plan
from phi_magic.generation.request import (
    _HINTS,
    ChatMessage,
    GenerationRequest,
    ModelReference,
    SamplingParameters,
)
from phi_magic.reply import Token
from phi_magic.sampling import Sampling

REQUEST = GenerationRequest(
    model=ModelReference("demo"),
    messages=(ChatMessage("user", "Write a haiku"),),
    sampling=SamplingParameters(),
    seed=1,
    max_tokens=20,
)
#: Another value of each field; those of a field's type serve where none is named.
OTHER = {
    "model": ModelReference("phi-3-mini-4k"),
    "messages": (ChatMessage("system", "Be brief"), *REQUEST.messages),
    "sampling": SamplingParameters(temperature=0.1),
    "stop": ("\n",),
    "schema": "{}",
    "choices": ("yes", "no"),
    "given": "Puck",
    "now": "2026-11-27T12:00:00",
    "begin": (5,),
    "known": (Token(5, "a", -0.1, 0.9, 1),),
}


def changed(name):
    value = getattr(REQUEST, name)
    if name in OTHER:
        return OTHER[name]
    return not value if isinstance(value, bool) else (value or 0) + 1


def test_it_pickles_copies_compares_and_hashes():
    for again in (pickle.loads(pickle.dumps(REQUEST)), copy.deepcopy(REQUEST), replace(REQUEST)):
        assert again == REQUEST
        assert hash(again) == hash(REQUEST)
        assert again.canonical() == REQUEST.canonical()


@pytest.mark.parametrize("name", [field.name for field in fields(GenerationRequest)])
def test_all_that_an_answer_depends_on_changes_the_hash_and_nothing_else(name):
    other = replace(REQUEST, **{name: changed(name)})
    assert other != REQUEST
    assert (other.digest() == REQUEST.digest()) == (name in _HINTS)


@pytest.mark.parametrize("name", [field.name for field in fields(SamplingParameters)])
def test_so_does_every_sampling_parameter(name):
    sampling = replace(REQUEST.sampling, **{name: getattr(REQUEST.sampling, name) + 1})
    assert replace(REQUEST, sampling=sampling).digest() != REQUEST.digest()


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"path": "/models/demo.gguf"}, True),
        ({"n_threads": 3}, True),
        ({"keep_alive": 5}, True),
        ({"in_flight": 2}, True),
        ({"profile": "memory"}, False),
        ({"n_gpu_layers": 3}, False),
        ({"plan": Plan(n_threads=2, key_type="q8_0")}, False),
    ],
    ids=str,
)
def test_where_and_how_fast_a_model_runs_does_not_change_it_and_how_it_rounds_does(changes, same):
    other = replace(REQUEST, model=replace(REQUEST.model, **changes))
    assert (other.digest() == REQUEST.digest()) == same


def test_the_hash_is_the_same_in_another_process():
    script = f"import sys; sys.path[:] = {sys.path!r}\nfrom tests.generation.test_request import REQUEST; print(REQUEST.digest())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == REQUEST.digest()


def test_the_parameters_are_those_of_the_traits_with_the_same_defaults():
    traits = Sampling.class_traits()
    assert {field.name: field.default for field in fields(SamplingParameters)} == {
        name: trait.default_value for name, trait in traits.items()
    }


def test_a_model_reference_has_the_defaults_of_the_traits():
    traits = Phi.class_traits()
    shared = {field.name: field.default for field in fields(ModelReference) if field.name in traits}
    del shared["keep_alive"]  # a model of one's own process is kept
    assert set(shared) == {"profile", "n_threads", "n_gpu_layers", "in_flight"}
    assert {name: traits[name].default_value for name in shared} == shared
