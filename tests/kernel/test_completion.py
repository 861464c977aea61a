"""Tab and ? in a real kernel, as a notebook's front end asks for them."""

from __future__ import annotations

import pytest

from tests.kernel.kernels import TIMEOUT, LiveKernel

pytestmark = pytest.mark.kernel

SETUP = """\
%load_ext phi_magic
%config Phi.model = 'demo'
%config Phi.max_tokens = 3
%phi -q -c=voyage -o answer Hello
city = {"type": "object", "properties": {}}
"""


@pytest.fixture(scope="module")
def kernel():
    kernel = LiveKernel()
    assert kernel.run(SETUP).reply["status"] == "ok"
    yield kernel
    kernel.close()


def offered(kernel, cell, place=None):
    """What the front end is offered at a place of a cell, its end by default."""
    kernel.client.complete(cell, len(cell) if place is None else place)
    return kernel.client.get_shell_msg(timeout=TIMEOUT)["content"]["matches"]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("%phi --repeat-pen", "--repeat-penalty"),
        ("%%phi --repeat-pen", "--repeat-penalty"),
        ("%%phi -m phi-3", "phi-3-mini-4k"),
        ("%%phi -f htm", "html"),
        ("%%phi -c voy", "voyage"),
        ("%%phi --schema ci", "city"),
        ("%phi_chat und", "undo"),
        ("%phi_chat show voy", "voyage"),
        ("%phi_models unl", "unload"),
        ("%phi_models load phi-", "phi-2"),
        ("%phi_replay answ", "answer"),
        ("%%phi_sweep temp", "temperature="),
        ("%%phi_sweep seed=1 --top-lo", "--top-logprobs"),
        ("%phi_fix --va", "--vars"),
        ("%phi_fix -m phi-3", "phi-3-mini-4k"),
        ("%phi_explore --temp", "--temperature"),
        ("%phi_explore answ", "answer"),
    ],
)
def test_tab_completes(kernel, line, name):
    assert name in offered(kernel, line)
    if line.startswith("%%"):
        assert name in offered(kernel, f"{line}\nWrite a haiku", len(line))


@pytest.mark.parametrize("line", ["%%phi --", "%%phi -", "%%phi -m ", "%%phi -f ", "%%phi --schema ci", "%%phi_sweep "])
def test_only_what_fits_is_offered(kernel, line):
    others = {"abs", "and", "import", "%%time", "%load_ext"}
    assert offered(kernel, line)
    assert not others & set(offered(kernel, line))


@pytest.mark.parametrize(
    "line", ["%%phi -t ", "%%phi --seed ", "%%phi -n ", "%phi_explore nothing_", "%%phi_map nothing_"]
)
def test_where_nothing_fits_nothing_is_offered(kernel, line):
    assert offered(kernel, line) == []


@pytest.mark.parametrize(
    "magic",
    [
        "%phi",
        "%%phi",
        "%phi_chat",
        "%phi_explore",
        "%phi_fix",
        "%phi_models",
        "%phi_panel",
        "%phi_replay",
        "%%phi_sweep",
    ],
)
def test_a_question_mark_explains_with_an_example(kernel, magic):
    [shown] = kernel.run(f"{magic}?").reply["payload"]
    text = shown["data"]["text/plain"]
    assert "Docstring:" in text
    assert text.count(f"%{magic.lstrip('%')} ") or text.count(f"%{magic.lstrip('%')}\n")
