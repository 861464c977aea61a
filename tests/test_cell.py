"""The cell that gives an answer again, run to see that it does."""

from __future__ import annotations

import pytest

from phi_magic import Phi
from phi_magic.cell import cell_for

HAIKU = "Write a haiku about ice hockey"
DEFAULTS = {name: trait.default() for name, trait in Phi.class_traits(config=True).items()}


@pytest.fixture
def ip(shell):
    shell.run_line_magic("load_ext", "phi_magic")
    return shell


def run(ip, cell):
    """Run a cell, and return the Reply that it made."""
    done = ip.run_cell(cell.replace("%%phi", "%%phi -q -o answer", 1))
    done.raise_error()
    return ip.user_ns["answer"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 1.2, "top_k": 7, "min_p": 0.01, "max_tokens": 9},
        {"temperature": 0, "repeat_penalty": 1.0, "repeat_last_n": 3},
        {"stop": ["\n", "it's"]},
        {"system": 'Say "no" & nothing else; it\'s $fine'},
    ],
    ids=str,
)
def test_the_cell_gives_the_same_answer(ip, options):
    reply = Phi(model="demo")(HAIKU, **options)
    again = run(ip, cell_for(reply, DEFAULTS))
    assert (again.text, again.seed) == (reply.text, reply.seed)
    assert again.params == reply.params


def test_what_both_have_is_left_unsaid():
    reply = Phi(model="demo", seed=5)(HAIKU, temperature=0.2)
    assert cell_for(reply, DEFAULTS) == f"%%phi -m demo -t 0.2 --seed 5\n{HAIKU}"
    assert "--top-p 0.95" in cell_for(reply, {})


def test_braces_in_a_prompt_stay_braces(ip):
    reply = Phi(model="demo", max_tokens=2)("What is {{ x }}?")
    assert run(ip, cell_for(reply, DEFAULTS)).prompt == "What is {{ x }}?"


def test_a_template_can_stand_in_place_of_the_prompt(ip):
    ip.user_ns["topic"] = "the sea"
    reply = Phi(model="demo", max_tokens=2)("About the sea")
    assert run(ip, cell_for(reply, DEFAULTS, "About {{ topic }}")).prompt == "About the sea"


def test_a_system_message_of_two_lines_has_a_cell_of_its_own(ip):
    reply = Phi(model="demo", max_tokens=2)(HAIKU, system="One.\nTwo.")
    first, _, second = cell_for(reply, DEFAULTS).partition("\n\n")
    ip.run_cell(first).raise_error()
    assert run(ip, second).params["system"] == "One.\nTwo."
