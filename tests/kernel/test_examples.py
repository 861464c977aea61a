"""The examples run from top to bottom, and are saved with what they answered."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from tests.notebooks import run_notebook

pytestmark = pytest.mark.kernel
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.ipynb"))


def answers(notebook):
    """The text of every answer, in order."""
    return [
        output.data["text/plain"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "phi_magic" in output.get("metadata", {})
    ]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_runs_and_answers_every_question(path):
    notebook = run_notebook(path)
    asked = [
        cell for cell in notebook.cells if cell.cell_type == "code" and re.match("%%?phi(_fix|_sweep)?\\b", cell.source)
    ]
    assert len(answers(notebook)) == len(asked)
    assert all(answers(notebook))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_is_saved_as_it_ran(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert answers(notebook)
    meant = "raises-exception"
    cells = [cell for cell in notebook.cells if meant not in cell.metadata.get("tags", ())]
    assert not [output for cell in cells for output in cell.get("outputs", ()) if output.output_type == "error"]


def test_the_quickstart_gives_the_same_texts_again():
    quickstart = next(path for path in EXAMPLES if path.stem == "quickstart")
    seeded = [answers(run_notebook(quickstart)) for _ in range(2)]
    assert seeded[0] == seeded[1]
