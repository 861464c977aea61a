"""Layers on a GPU, whose kernels choose their shape by the size of a pass: the promise holds without the KV cache's reuse.

There is no GPU here. A CPU with flash attention over a 16-bit cache stands in for one: it evaluates a prompt in another way
than the same prompt in other slices, and llama.cpp without a GPU ignores where the layers should be.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest

from phi_magic import Phi
from phi_magic.engine.context import context_params
from phi_magic.engine.engine import Engine
from phi_magic.engine.llama import C
from phi_magic.engine.model import Model
from phi_magic.exactness import probe
from phi_magic.generation.plan import Plan
from phi_magic.interrupt import Stop
from phi_magic.models.files import resolve
from tests.architectures import ARCHITECTURES, write

GPU = Plan(n_threads=1, n_gpu_layers=-1, flash_attention=True)
LONG = "the puck glides over silver ice " * 12


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "phi3.gguf"
    write(path, ARCHITECTURES["phi3"])
    return path


@pytest.fixture
def phi(path):
    phi = Phi(model=str(path), seed=1, max_tokens=12)
    engine = Engine()
    phi.backend = engine
    yield phi
    engine.unload()


def test_the_same_question_has_the_same_tokens_whatever_was_asked_before(phi):
    fresh = phi(LONG, plan=GPU, top_logprobs=1)
    assert fresh.usage.cached_tokens == 0
    phi(f"{LONG} under winter light", plan=GPU)
    again = phi(LONG, plan=GPU, top_logprobs=1)
    assert again.tokens == fresh.tokens
    assert again.usage.cached_tokens == 0


def test_such_slices_are_not_alike(phi):
    reused = [phi(prompt, plan=GPU, exact=False, top_logprobs=1) for prompt in (LONG, f"{LONG} under", LONG)]
    assert reused[2].usage.cached_tokens > 0
    assert reused[2].tokens != phi(LONG, plan=GPU, top_logprobs=1).tokens


def test_the_answers_of_a_map_are_those_of_single_calls(phi):
    prompts = [LONG, "ice", f"{LONG} over", "puck"]
    every = phi.map(prompts, plan=GPU, progress=False, top_logprobs=1)
    assert [one.tokens for one in every] == [phi(prompt, plan=GPU, top_logprobs=1).tokens for prompt in prompts]
    assert all("pass" not in one.engine for one in every)


def test_inexact_answers_of_a_map_share_passes(phi):
    every = phi.map(["ice", "puck"], plan=GPU, progress=False, exact=False)
    assert [one.engine["pass"] for one in every] == ["wide", "wide"]


def test_a_row_of_choices_does_not_depend_on_the_others(phi):
    options = {"plan": GPU, "choices": ["ice", "puck and goal", "snow"], "progress": False}
    alone = phi.map([LONG], **options)[0].choices
    assert phi.map(["puck", LONG, "ice"], **options)[1].choices == alone


def test_a_row_that_cannot_be_answered_is_an_error_in_that_row_alone(phi):
    schema = {"type": "array", "uniqueItems": True}  # refused when the grammar is made, as the answer is begun
    alone, refused = (
        phi.map(["ice"], plan=plan, schema=schema, progress=False, on_error="keep")[0]
        for plan in (replace(GPU, n_gpu_layers=0), GPU)
    )
    assert (refused.finish_reason, refused.error) == (alone.finish_reason, alone.error)
    assert refused.finish_reason == "error"


def test_a_branch_goes_on_from_the_tokens_that_were_decoded(phi):
    whole = phi(LONG, plan=GPU)
    branch = phi(LONG, plan=GPU, known=whole.tokens[:6])
    assert [token.id for token in branch.tokens] == [token.id for token in whole.tokens]


def test_no_history_is_evaluated_that_will_not_be_used(phi):
    phi(LONG, plan=GPU, continues=True)
    before = list(phi.backend.context.tokens)
    phi.backend.idle(Stop())
    assert phi.backend.context.tokens == before


def test_the_probe_asks_what_is_promised_there():
    with closing(Model(resolve("demo").path)) as model:
        found = dict(probe(model, Plan(n_threads=1, n_gpu_layers=-1)))
    assert list(found.values()) == [True] * 3
    assert not any("slices" in line for line in found)


@pytest.mark.parametrize("layers", [0, 16, -1])
def test_nothing_is_sent_to_a_gpu_without_layers_there(layers):
    params = context_params(Plan(n_threads=1, n_gpu_layers=layers), C.ggml_abort_callback(lambda _: False))
    assert (params.op_offload, params.offload_kqv) == (layers != 0, layers != 0)
