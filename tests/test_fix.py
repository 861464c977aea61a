"""%phi_fix: what is asked about a cell that failed, and what is proposed."""

from __future__ import annotations

import sys

import pytest
from IPython.core.error import UsageError

from phi_magic import Phi
from phi_magic.fix import Failure, prompt
from tests.fake_backend import FakeBackend

FORM = (
    "This Python cell failed.\n\n```python\n{cell}\n```\n\n```\n{error}\n```\n\n"
    "Explain the error in one sentence, then give the corrected cell in one Python block."
)


@pytest.fixture
def ip(shell, monkeypatch):
    monkeypatch.delattr(sys, "last_value", raising=False)
    shell.run_line_magic("load_ext", "phi_magic")
    for setting in ("model = 'demo'", "temperature = 0.0", "n_threads = 1"):
        shell.run_line_magic("config", f"Phi.{setting}")
    return shell


def question(ip, line=""):
    ip.run_line_magic("phi_fix", f"-q -n 1 -o answer {line}")
    return ip.user_ns["answer"].prompt


def fail(ip, cell, capsys):
    ip.run_cell(cell, store_history=True)
    capsys.readouterr()


class TestQuestion:
    def test_it_has_the_form_that_the_shipped_model_knows(self, ip, capsys):
        fail(ip, "total = 3\nprint(totl)\n", capsys)
        assert question(ip) == FORM.format(cell="total = 3\nprint(totl)", error="NameError: name 'totl' is not defined")

    def test_a_cell_that_does_not_parse(self, ip, capsys):
        fail(ip, "for x in range(3)\n    print(x)", capsys)
        assert question(ip) == FORM.format(cell="for x in range(3)\n    print(x)", error="SyntaxError: expected ':'")

    def test_an_error_without_a_message(self, ip, capsys):
        fail(ip, "assert 1 == 2", capsys)
        assert question(ip) == FORM.format(cell="assert 1 == 2", error="AssertionError")

    def test_magics_stand_as_they_were_typed(self, ip, capsys):
        fail(ip, "%cd -q .\nx = {}['key']", capsys)
        assert question(ip) == FORM.format(cell="%cd -q .\nx = {}['key']", error="KeyError: 'key'")

    def test_a_function_of_another_cell_is_shown_and_no_library(self, ip, capsys):
        fail(ip, "import json\n\ndef load(text):\n    return json.loads(text)\n\ndef other():\n    pass", capsys)
        fail(ip, "data = load('{')", capsys)
        asked = question(ip)
        assert asked.startswith("This Python cell failed.\n\n```python\ndata = load('{')\n```\n\n")
        assert "def load(text):\n    return json.loads(text)" in asked
        assert "def other" not in asked
        assert "raw_decode" not in asked
        assert "```\nJSONDecodeError: Expecting property name" in asked

    def test_values_are_sent_with_vars_alone(self, ip, capsys):
        ip.user_ns["token"] = "hunter2"
        ip.user_ns["rows"] = [1] * 1000
        ip.user_ns["unused"] = "swordfish"
        fail(ip, "import sys\nprint(token, rows, sys, missing)", capsys)
        assert "hunter2" not in question(ip)
        asked = question(ip, "--vars")
        assert "token = 'hunter2'\nrows = [1, 1, 1, 1, 1, 1, ...]\n" in asked
        assert "swordfish" not in asked
        assert "<module" not in asked

    def test_a_fence_in_the_cell_does_not_end_its_block(self, ip, capsys):
        fail(ip, 'x = """\n```\n"""\ny', capsys)
        assert '````python\nx = """\n```\n"""\ny\n````' in question(ip)

    def test_a_value_whose_repr_fails_does_no_harm(self, ip, capsys):
        fail(ip, "class Bad:\n    def __repr__(self):\n        raise RuntimeError\nbad = Bad()\nbad.x", capsys)
        assert "bad = <Bad instance at" in question(ip, "--vars")


class TestCutting:
    CELL = "\n".join(f"line_{number} = {number}" for number in range(200))

    def test_lines_near_the_error_stay(self):
        asked = prompt(Failure(self.CELL, "E: x", 100), 600)
        assert len(asked) <= 620
        assert "line_99 = 99" in asked
        assert "# ...\nline_" in asked
        assert "line_0 =" not in asked
        assert "line_199 =" not in asked

    @pytest.mark.parametrize("line", [0, 1, 200, 999])
    def test_at_either_end_and_beyond(self, line):
        asked = prompt(Failure(self.CELL, "E: x", line), 600)
        assert f"line_{0 if line < 2 else 199} =" in asked

    def test_functions_go_before_lines(self):
        asked = prompt(Failure("f()", "E: x", 1, ("def f():\n" + "    pass\n" * 300, "def g(): pass")), 400)
        assert "f()" in asked
        assert "    pass" not in asked
        assert "def g(): pass" in asked

    def test_the_failing_line_stays_however_little_room_there_is(self):
        assert "x" * 500 in prompt(Failure("a\n" + "x" * 500 + "\nb", "E: x", 2), 10)

    def test_a_long_message_is_cut(self, ip, capsys):
        fail(ip, "raise ValueError('long ' * 5000)", capsys)
        assert len(question(ip)) < 1500

    def test_a_cell_longer_than_the_context_is_asked_about_in_part(self, ip, capsys):
        lines = [f"value_{number} = {number}" for number in range(600)]
        lines[300] = "value_300 = missing_name"
        fail(ip, "\n".join(lines), capsys)
        asked = question(ip)
        assert "value_300 = missing_name" in asked
        assert "value_0 =" not in asked


class TestNothing:
    def test_nothing_to_fix_says_so(self, ip):
        with pytest.raises(UsageError, match="nothing to fix: no cell has failed"):
            ip.run_line_magic("phi_fix", "")

    def test_mistakes_and_interrupts_are_not_what_failed_last(self, ip, capsys):
        fail(ip, "1 / 0", capsys)
        fail(ip, "%phi_fix --temprature 1", capsys)
        fail(ip, "raise KeyboardInterrupt", capsys)
        fail(ip, "fine = True", capsys)
        assert "ZeroDivisionError" in question(ip)

    def test_an_exception_from_before_the_extension_was_loaded_counts(self, shell, capsys):
        fail(shell, "1 / 0", capsys)
        shell.run_line_magic("load_ext", "phi_magic")
        shell.run_line_magic("config", "Phi.model = 'demo'")
        assert question(shell) == FORM.format(cell="1 / 0", error="ZeroDivisionError: division by zero")

    def test_an_exception_of_no_cell_is_none_to_fix(self, shell, monkeypatch):
        monkeypatch.setattr(sys, "last_value", ValueError("elsewhere"), raising=False)
        shell.run_line_magic("load_ext", "phi_magic")
        with pytest.raises(UsageError, match="comes from no cell"):
            shell.run_line_magic("phi_fix", "")

    @pytest.mark.parametrize("line", ["now", "--varz", "-t 99", "-o 1x"])
    def test_mistakes_are_one_line(self, ip, capsys, line):
        fail(ip, "1 / 0", capsys)
        with pytest.raises(UsageError) as raised:
            ip.run_line_magic("phi_fix", line)
        assert "\n" not in str(raised.value)


class TestProposal:
    def test_the_block_is_the_next_cell_and_is_not_run(self, ip, capsys, monkeypatch):
        answer = "A name is wrong.\n\n```python\nran = True\n```"
        self.answering(monkeypatch, answer)
        fail(ip, "totl", capsys)
        ip.run_line_magic("phi_fix", "")
        assert ip.rl_next_input == "ran = True"
        assert "ran" not in ip.user_ns

    def test_without_a_block_no_cell_is_proposed_and_a_line_says_so(self, ip, capsys, monkeypatch):
        self.answering(monkeypatch, "I do not know.")
        fail(ip, "totl", capsys)
        ip.run_line_magic("phi_fix", "")
        assert getattr(ip, "rl_next_input", None) is None
        assert "no cell is proposed" in capsys.readouterr().err

    @staticmethod
    def answering(monkeypatch, text):
        monkeypatch.setattr(Phi, "backend", FakeBackend(text))

    def test_the_shipped_model_corrects_a_name(self, ip, capsys):
        fail(ip, "total = 3\nprint(totl)", capsys)
        ip.run_line_magic("phi_fix", "-o answer")
        assert "```python\n" in ip.user_ns["answer"].text
        assert ip.rl_next_input
