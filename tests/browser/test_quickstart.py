"""The quickstart as a person goes through it, on the shipped model."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

pytestmark = pytest.mark.browser
QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"


@pytest.fixture
def cells():
    """The notebook's cells, without what they answered when it was saved."""
    notebook = nbformat.read(QUICKSTART, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


@pytest.fixture
def index_of(cells):
    """A function: the number of the first cell that contains some text."""
    return lambda text: next(
        index for index, cell in enumerate(cells.cells) if cell.cell_type == "code" and text in cell.source
    )


def answer(notebook, index):
    return notebook.answer(index).first.inner_text()


def test_it_runs_from_the_top_and_again(open_notebook, cells, index_of):
    notebook = open_notebook(cells)
    asking = [index for index, cell in enumerate(cells.cells) if cell.source.startswith(("%phi", "%%phi"))]
    notebook.run_all()
    notebook.wait(max(asking))
    for index in asking:
        assert re.search(r"\d+ tokens?.* · seed \d+ · (stop|length)", notebook.text(index)), cells.cells[index].source
    haiku = index_of("ice hockey")
    first = answer(notebook, haiku)
    notebook.run(haiku)
    assert answer(notebook, haiku) == first
    assert not notebook.console_errors
    assert not notebook.foreign_requests


def test_its_long_answer_streams_and_can_be_stopped(open_notebook, cells, index_of):
    notebook = open_notebook(cells)
    long = index_of("--repeat-penalty")
    notebook.run(index_of("%load_ext"))
    notebook.record(long)
    notebook.run(long)
    whole = answer(notebook, long)
    lengths = {len(state) for state in notebook.recorded(long)}
    assert len({length for length in lengths if 0 < length < len(whole)}) >= 3
    assert not notebook.console_errors
