"""%phi_replay in a real kernel, and over a notebook that nbclient ran."""

from __future__ import annotations

import nbformat
import pytest

from phi_magic.__main__ import main
from tests.notebooks import notebook_of, run_notebook

pytestmark = pytest.mark.kernel


def test_a_notebook_that_was_run_and_saved_is_the_same_again(tmp_path, capsys):
    notebook = run_notebook(
        notebook_of(
            "%load_ext phi_magic\n%config Phi.model = 'demo'",
            "%%phi -o haiku -t 1.2\nWrite a haiku about ice hockey",
            "%phi -s 'Be brief.' --stop '\\n' Write a haiku about the sea",
            "haiku",
        )
    )
    path = tmp_path / "saved.ipynb"
    nbformat.write(notebook, path)
    assert main(["replay", str(path)]) == 0
    assert capsys.readouterr().out.endswith("3 answers: 3 the same\n")


def test_the_table_is_redrawn_in_place(kernel):
    kernel.run("%load_ext phi_magic\n%config Phi.model = 'demo'\n%phi -q -o haiku Write a haiku about snow")
    done = kernel.run("%phi_replay haiku")
    assert len({shown["transient"]["display_id"] for shown in done.displays}) == 1
    assert "1 answer: 1 the same" in done.displays[-1]["data"]["text/plain"]
