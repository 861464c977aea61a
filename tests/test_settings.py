"""The settings' tags: which group each belongs to, and the lists that are made from them."""

from __future__ import annotations

from dataclasses import fields

from phi_magic import Phi
from phi_magic.generation.request import ModelReference
from phi_magic.parameters import SamplingParameters
from phi_magic.settings import ANSWER_TRAITS, GROUPS, RECORDED_TRAITS, grouped, label
from phi_magic.walk import PARAMETERS
from phi_magic.widgets.sliders import Sliders
from tests.fake_backend import FakeBackend


def test_every_setting_belongs_to_one_group():
    listed = [name for group in GROUPS for name in grouped(group)]
    assert sorted(listed) == sorted(Phi.class_traits(config=True))


def test_the_sampling_group_is_what_the_sampler_takes():
    assert grouped("sampling") == PARAMETERS == tuple(field.name for field in fields(SamplingParameters))


def test_the_running_group_goes_with_the_model():
    assert set(grouped("running")) == {field.name for field in fields(ModelReference)} - {"name", "plan", "path"}


def test_a_reply_records_the_settings_of_its_groups():
    phi = Phi()
    phi.backend = FakeBackend("Ice.")
    params = phi("What is ice?").params
    assert {*params} - {*RECORDED_TRAITS} == {"raw", "begin"}
    assert params == params | {name: getattr(phi, name) for name in RECORDED_TRAITS}


def test_every_number_that_shapes_an_answer_says_how_a_slider_steps():
    traits = Phi.class_traits()
    numbers = [name for name in ANSWER_TRAITS if hasattr(traits[name], "min")]
    assert {name for name in numbers if "step" not in traits[name].metadata} == {"max_reasoning"}
    for row in Sliders(Phi(), PARAMETERS).rows:
        assert row["min"] < row["max"]
        assert 0 < row["step"] < row["max"]


def test_the_value_that_switches_a_parameter_off_can_be_set():
    traits = Phi.class_traits()
    off = {name: traits[name].metadata["off"] for name in PARAMETERS if "off" in traits[name].metadata}
    assert {*PARAMETERS} - {*off} == {"temperature"}
    Phi(**off)


def test_a_name_is_read_as_its_tag_says():
    assert [label(name) for name in ("top_p", "repeat_last_n", "seed")] == ["top-p", "repeat last n", "seed"]
