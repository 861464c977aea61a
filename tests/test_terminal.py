"""IPython without a notebook: a script of cells, and a person at the prompt."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from tests.hostile_texts import STEERING

# pexpect forks, and the tests of training have imported JAX, which warns of that, where they ran in the same process.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
IPYTHON = [sys.executable, "-m", "IPython", "--no-banner", "--colors=nocolor", "--no-confirm-exit"]
SCRIPT = """\
%load_ext phi_magic
%config Phi.model = "demo"
%phi --seed 1 -o first Write a haiku about the sea

def lines(topic):
    %phi -q -o inner Write a haiku about {{ topic }}
    return inner.prompt

topic = "a name that the function's hides"
print("function:", lines("ice"))
for topic in ("ice", "rain"):
    %phi -q -c Write a haiku about {{ topic }}
%phi_chat list
get_ipython().run_cell_magic("phi_sweep", "seed=1:2 -n 4 -o grid", "Write a haiku about ice")
print("sweep:", list(grid.finish_reason))
%phi_replay first
%phi -t 99 Hello
print("not reached")
"""


def test_a_script_runs_as_a_notebook_does_and_ends_at_a_mistake():
    Path("script.ipy").write_text(SCRIPT)
    done = subprocess.run([*IPYTHON, "script.ipy"], capture_output=True, text=True, check=False)
    answer, _, rest = done.stdout.partition("function: ")
    assert len(answer.strip().splitlines()) == 3
    assert rest.startswith("Write a haiku about ice\n")
    for shown in (
        "default  2 turns, the last: Write a haiku about rain",
        "sweep: ['length', 'length']",
        "first   same",
    ):
        assert shown in rest
    assert "not reached" not in rest
    assert "seed 1 · stop" in done.stderr
    assert "UsageError: temperature must be" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout


@pytest.fixture
def prompt():
    """IPython at a terminal, with the extension."""
    pexpect = pytest.importorskip("pexpect")  # IPython itself asks for it, but on Windows
    environment = {**os.environ, "TERM": "xterm", "PHI_MAGIC_MODEL": "demo", "PROMPT_TOOLKIT_NO_CPR": "1"}
    terminal = pexpect.spawn(
        IPYTHON[0], IPYTHON[1:], env=environment, encoding="utf-8", timeout=60, dimensions=(40, 200)
    )
    say(terminal, "%load_ext phi_magic", number=1)
    terminal.expect(r"In \[2\]")
    yield terminal
    terminal.close(force=True)


def say(terminal, line, *, number):
    """Type a line at the prompt of this number, and Enter."""
    terminal.expect(rf"In \[{number}\]")
    terminal.send(f"{line}\r")


def test_tab_completes_an_answer_streams_and_what_failed_is_explained(prompt):
    prompt.send("%phi --repeat-p\t")
    prompt.expect("enalty")  # what Tab adds may be drawn apart from what was typed
    prompt.send("\x15%phi --seed 1 -o reply Write a haiku about ice\r")  # Ctrl-U takes back what is typed
    prompt.expect(r"tokens/s .* seed 1 . stop")
    say(prompt, "1 / 0", number=3)
    prompt.expect("ZeroDivisionError")
    say(prompt, "%phi_fix -t 0 --seed 1", number=4)
    prompt.expect(r"tokens/s .* seed 1")
    prompt.expect(r"In \[5\]")


# A model has a token for every byte, and may be made to begin its answer with any of them.
HOSTILE_MODEL = """
from functools import partialmethod
from phi_magic import Phi
begin = [token.id for token in Phi(model="demo").tokenize({!a})]
Phi.stream = partialmethod(Phi.stream, begin=begin)
"""


def test_nothing_that_a_model_writes_steers_the_terminal(prompt):
    Path("hostile.py").write_text(HOSTILE_MODEL.format("BEGIN" + " ".join(STEERING) + "END"))
    prompt.send("%run hostile.py\r")
    for number, line in enumerate(["%phi Hello", "%phi --no-stream -o reply Hello", "reply"], 3):
        say(prompt, line, number=number)
        prompt.expect("BEGIN(.*)END")
        shown = prompt.match[1].replace("\r\n", "\n")
        assert "␛]52;c;ZXZpbA==" in shown
        assert [character for character in shown if unicodedata.category(character) in ("Cc", "Cf")] == []


def test_ctrl_c_keeps_the_answer_so_far(prompt, slow_model):
    prompt.send(f"%config Phi.model = {str(slow_model)!r}\r")
    say(prompt, "%phi -n 2000 -o half Write about ice", number=3)
    prompt.expect(r"([a-z]+ ){8}")
    prompt.sendintr()
    prompt.expect("interrupted")
    prompt.expect("KeyboardInterrupt")
    say(prompt, "print('kept', half.finish_reason, len(half.text.split()) >= 5)", number=4)
    prompt.expect("kept interrupted True")
