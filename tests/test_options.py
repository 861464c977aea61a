"""What may stand behind %phi: options made from the traits, and a prompt as it was typed."""

import argparse
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi_magic import Phi, PhiError
from phi_magic.options import ASKING, CELL, overrides, split, unknown, variable
from phi_magic.settings import grouped

OPTIONS = (*ASKING, *CELL)


def parsed(line):
    words, rest = split(line, OPTIONS)
    parser = argparse.ArgumentParser(exit_on_error=False)
    for option in OPTIONS:
        parser.add_argument(*option.flags, **option.keywords)
    return overrides(parser.parse_args(words)), rest


@pytest.mark.parametrize(
    ("line", "options", "prompt"),
    [
        ("Hello there", {}, "Hello there"),
        ("-t 0.2 --top-p=0.9 Hi", {"temperature": 0.2, "top_p": 0.9}, "Hi"),
        ("-t0.2 Hi", {"temperature": 0.2}, "Hi"),
        ("--temp 0 -n 5 Hi", {"temperature": 0.0, "max_tokens": 5}, "Hi"),
        ("--sample-len 7 Hi", {"max_tokens": 7}, "Hi"),
        ('don\'t "quote" me \\n', {}, 'don\'t "quote" me \\n'),
        ("-s 'Be brief.' What's up?", {"system": "Be brief."}, "What's up?"),
        ("--stop END --stop '\\n\\n' go", {"stop": ["END", "\n\n"]}, "go"),
        ("--raw -- -5 is a number", {"raw": True}, "-5 is a number"),
        ("-m demo", {"model": "demo"}, ""),
        ("--seed 4294967294 x", {"seed": 4294967294}, "x"),
        ("   ", {}, ""),
        ("--stop=-- go", {"stop": ["--"]}, "go"),
        ("--system=-- go", {"system": "--"}, "go"),
    ],
)
def test_options_come_first_and_the_rest_is_the_prompt(line, options, prompt):
    assert parsed(line) == (options, prompt)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--temprature 1 x", "did you mean --temperature?"),
        ("--temperature 7 x", "temperature must be a number from 0 to 5, not '7'"),
        ("-t hot x", "temperature must be a number from 0 to 5, not 'hot'"),
        ("-t nan x", "temperature"),
        ("-t inf x", "temperature"),
        ("-t", "-t needs a value"),
        ("--top-k 1.5 x", "top_k must be a whole number"),
        ("--seed -1 x", "seed must be a whole number from 0 to 4,294,967,294, not '-1'"),
        ("-n 0 x", "max_tokens"),
        ("-f yaml x", "format must be one of markdown, text"),
        ("-s 'open x", "quote"),
        ("--raw=1 x", "--raw takes no value"),
        ("-z x", "there is no option -z"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(line, says):
    with pytest.raises(PhiError) as error:
        parsed(line)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["1x", "a b", "class", "a.b", "", "__builtins__", "__name__"])
def test_only_a_name_can_be_bound(name):
    with pytest.raises(PhiError, match="-o needs the name of a variable"):
        variable(name)


def test_a_name_is_bound_as_python_reads_it():
    assert variable("\N{LATIN SMALL LIGATURE FI}t") == "fit"


def test_an_option_that_is_like_no_other_is_answered_with_all_of_them():
    with pytest.raises(PhiError) as error:
        parsed("-z x")
    assert all(flag in str(error.value) for option in OPTIONS for flag in option.flags)


def test_a_name_where_there_are_none_is_answered_without_a_list():
    assert unknown("nosuch", [], "variable") == "there is no variable nosuch"
    assert unknown("Zzz", ["Food"], "variable") == "there is no variable Zzz; these fit: Food"


def test_every_answer_trait_has_an_option():
    assert {option.trait for option in OPTIONS} >= {*grouped("question", "sampling", "answer"), "format"}


def test_the_help_of_an_option_is_the_traits_with_bounds_and_default():
    (temperature,) = [option for option in OPTIONS if option.trait == "temperature"]
    text = temperature.keywords["help"]
    assert Phi.temperature.help in text
    assert "from 0 to 5" in text
    assert "Default: 0.8" in text


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_line_is_options_and_prompt_or_one_line_of_error(line):
    try:
        _, prompt = parsed(line)
    except PhiError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017
    else:
        assert prompt in line


def test_the_default_model_is_the_environments_where_it_sets_one():
    done = subprocess.run(
        [sys.executable, "-m", "phi_magic", "--help"],
        env=os.environ | {"PHI_MAGIC_MODEL": "demo", "COLUMNS": "1000"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Default: demo." in done.stdout
