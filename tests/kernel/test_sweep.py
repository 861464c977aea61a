"""%%phi_sweep in a real kernel: cells that fill in, and what an interrupt leaves."""

from __future__ import annotations

import nbformat
import pytest

from phi_magic.__main__ import main
from tests.notebooks import notebook_of, run_notebook

pytestmark = pytest.mark.kernel


@pytest.fixture
def phi(kernel, slow_model):
    kernel.run(f"%load_ext phi_magic\n%config Phi.model = {str(slow_model)!r}")
    return kernel


def test_the_table_fills_in_in_place(phi):
    done = phi.run("%%phi_sweep temperature=0.5,1 seed=1:3 -n 30\nWrite about ice")
    assert done.reply["status"] == "ok", done.stderr
    assert len({shown["transient"]["display_id"] for shown in done.displays}) == 1
    states = [shown["data"]["text/plain"] for shown in done.displays]
    assert len(states) >= 3
    assert any("of 6 answers" in state and "…" in state for state in states)
    assert "6 answers, 180 tokens" in states[-1]
    assert done.displays[-1]["data"]["text/markdown"].startswith("| temperature | seed 1 | seed 2 | seed 3 |\n")


def test_an_interrupt_keeps_what_is_there(phi):
    def counted(message):
        return message["msg_type"] == "update_display_data" and "tokens" in message["content"]["data"]["text/plain"]

    asked = phi.submit("%%phi_sweep seed=1:4 -n 2000 -o kept\nWrite about ice")
    queued = phi.submit("queued = True")
    done = phi.follow(asked, phi.interrupt_once(counted))
    assert done.reply["ename"] == "KeyboardInterrupt"
    assert phi.follow(queued).reply["status"] == "aborted"
    assert "interrupted" in done.displays[-1]["data"]["text/plain"]
    kept = phi.run("print(len(kept), kept.completion_tokens.min(), set(kept.finish_reason))").stdout
    count, fewest, finish = kept.split(maxsplit=2)
    assert int(count) >= 1
    assert int(fewest) >= 1
    assert "interrupted" in finish


def test_a_saved_sweep_is_the_same_again(tmp_path, capsys):
    notebook = run_notebook(
        notebook_of(
            "%load_ext phi_magic\n%config Phi.model = 'demo'",
            "%%phi_sweep temperature=0.5,1.2 seed=1:3 -n 20\nWrite a haiku about ice hockey",
        )
    )
    nbformat.write(notebook, path := tmp_path / "saved.ipynb")
    assert main(["replay", str(path)]) == 0
    assert capsys.readouterr().out.endswith("6 answers: 6 the same\n")
