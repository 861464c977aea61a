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


def test_it_streams_and_can_be_stopped_where_the_model_is_a_slow_one(open_notebook, cells, index_of, slow_start):
    load, haiku = index_of("%load_ext"), index_of("ice hockey")
    cells.cells[load].source = slow_start
    notebook = open_notebook(cells)
    notebook.run(load)
    notebook.record(haiku)
    notebook.start(haiku)
    notebook.wait_for_words(haiku, 12)
    notebook.interrupt()
    notebook.wait(haiku)
    assert len({state.split()[-1] for state in notebook.recorded(haiku) if state.strip()}) >= 3
    assert len(answer(notebook, haiku).split()) >= 12
    assert "interrupted" in notebook.text(haiku)
    assert not notebook.console_errors
