"""%phi_fix and -f code in a real kernel: the next cell is proposed, and never run."""

from __future__ import annotations

import ast
import json

import pytest

from tests.kernel.kernels import LiveKernel

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def kernel():
    kernel = LiveKernel()
    setup = "%load_ext phi_magic\n%config Phi.model = 'demo'\n%config Phi.seed = 1\n%config Phi.n_threads = 1"
    assert kernel.run(setup).reply["status"] == "ok"
    yield kernel
    kernel.close()


def proposed(execution):
    return [payload for payload in execution.reply["payload"] if payload["source"] == "set_next_input"]


def answer(execution):
    [shown] = [shown for shown in execution.displays if "phi_magic" in shown["metadata"]]
    return shown


def test_nothing_to_fix_says_so(kernel):
    done = kernel.run("%phi_fix")
    assert done.reply["ename"] == "UsageError"
    assert done.stderr == "UsageError: nothing to fix: no cell has failed\n"


def test_the_cell_that_failed_is_explained_and_a_corrected_one_proposed(kernel):
    kernel.run("def half(x):\n    return x / zero")
    kernel.run("total = 3\nprint(half(total))")
    kernel.run("fine = 1")
    done = kernel.run("%phi_fix -t 0 -o reply")
    assert done.reply["status"] == "ok"
    asked = kernel.run("print(reply.prompt)").stdout
    assert asked.startswith("This Python cell failed.\n\n```python\ntotal = 3\nprint(half(total))\n```\n\n")
    assert "def half(x):\n    return x / zero\n" in asked
    assert "NameError: name 'zero' is not defined" in asked


def test_the_proposal_is_the_next_cell_and_is_not_run(kernel):
    kernel.run("total = 3\nprint(totl)")
    done = kernel.run("%phi_fix -t 0 -o reply")
    [payload] = proposed(done)
    assert payload["replace"] is False
    code = kernel.run("print(reply.text.split('```python\\n')[1].split('\\n```')[0])").stdout.strip("\n")
    assert payload["text"] == code
    assert "Traceback" not in answer(done)["data"]["text/plain"]


def test_a_cell_that_does_not_parse_counts_as_failed(kernel):
    kernel.run("while True print(1)")
    kernel.run("%phi_fix -q -n 1 -o reply")
    asked = kernel.run("print(reply.prompt)").stdout
    assert "```python\nwhile True print(1)\n```" in asked
    assert "SyntaxError: invalid syntax" in asked
    assert "ipykernel" not in asked


def test_values_stay_here_unless_vars(kernel):
    kernel.run("secret = 'hunter2'")
    kernel.run("secret + 1")
    kernel.run("%phi_fix -q -n 1 -o reply\n%phi_fix -q -n 1 --vars -o told")
    assert kernel.run("print('hunter2' in reply.prompt, 'hunter2' in told.prompt)").stdout == "False True\n"


def test_an_answer_as_code_is_put_into_the_next_cell(kernel):
    done = kernel.run("%%phi -f code -t 0 -o reply\nWrite a Python function that adds two numbers")
    shown = answer(done)["data"]
    assert "```" not in shown["text/plain"]
    assert "def " in shown["text/plain"]
    assert shown["text/markdown"].startswith("```python\n")
    [payload] = proposed(done)
    assert payload["text"] == shown["text/plain"]


@pytest.mark.parametrize("cell", ["%%phi -f code -t 0\nWrite a Python function that adds two numbers", "%phi_fix -t 0"])
def test_in_a_notebook_a_proposal_waits_for_its_button(kernel, cell):
    kernel.run("total = 3\nprint(totl)")
    for _ in range(3):
        done = kernel.run(cell, cell="d4f1")
        assert done.reply["payload"] == []
        [offered] = [
            shown["data"] for shown in done.displays if "data-commandlinker" in shown["data"].get("text/html", "")
        ]
        assert offered["text/plain"] == "The code is a proposal: it was not run."


def test_quiet_proposes_nothing(kernel):
    done = kernel.run("%%phi -q -f code -t 0\nWrite a Python function that adds two numbers", cell="d4f1")
    assert done.displays == done.reply["payload"] == []


def test_an_answer_as_json_is_data(kernel):
    done = kernel.run("%%phi -f json -t 0 -o reply\nGive me a JSON object with a name and an age")
    data = ast.literal_eval(kernel.run("print(reply.data)").stdout)
    assert set(data) == {"name", "age"}
    assert json.loads(answer(done)["data"]["text/plain"]) == data


def test_an_answer_that_is_not_json_says_so(kernel):
    done = kernel.run("%%phi -f json -t 0 -o reply\nWrite a haiku about ice hockey")
    assert kernel.run("print(reply.data)").stdout == "None\n"
    assert done.displays[-1]["data"]["text/plain"].startswith("the answer is not JSON: ")
