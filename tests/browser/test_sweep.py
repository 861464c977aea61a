"""A sweep's table in JupyterLab and in Notebook 7: it fills in before one's eyes, and an interrupt keeps it."""

from __future__ import annotations

import pytest

from tests.notebooks import notebook_of

pytestmark = pytest.mark.browser

GRID = "%%phi_sweep temperature=0.3,0.9,1.5 seed=1:3"


def test_the_table_fills_in_as_answers_arrive(open_notebook, slow_start):
    notebook = open_notebook(notebook_of(slow_start, f"{GRID} -n 30\nWrite about ice hockey"))
    notebook.run(0)
    notebook.record(1)
    notebook.run(1)
    words = [len(state.split()) for state in notebook.recorded(1)]
    assert len({count for count in words if 40 < count < 270}) >= 3
    table = notebook.answer(1).locator("table")
    assert table.locator("th").all_inner_texts() == ["temperature", "seed 1", "seed 2", "seed 3"]
    assert table.locator("tbody td:first-child").all_inner_texts() == ["0.3", "0.9", "1.5"]
    assert all(text.endswith("[length]") for text in table.locator("td:not(:first-child)").all_inner_texts())
    assert "9 answers, 270 tokens" in notebook.text(1)
    assert not notebook.console_errors


def test_one_by_twenty_reads_down_the_page(open_notebook):
    setup = "%load_ext phi_magic\n%config Phi.model = 'demo'\n%config Phi.n_threads = 1"
    notebook = open_notebook(notebook_of(setup, "%%phi_sweep seed=1:20 -n 12\nWrite a haiku about the sea"))
    notebook.run(0)
    notebook.run(1)
    rows = notebook.answer(1).locator("tbody tr")
    assert rows.count() == 20
    seeds = notebook.answer(1).locator("tbody td:first-child").all_inner_texts()
    assert seeds == [str(seed) for seed in range(1, 21)]
    table = notebook.answer(1).locator("table").bounding_box()
    assert table["width"] <= notebook.cell(1).bounding_box()["width"]


def test_an_interrupt_keeps_what_is_there_and_the_queue_stops(open_notebook, slow_start):
    notebook = open_notebook(
        notebook_of(slow_start, f"{GRID} -n 1000 -o kept\nWrite about ice", "print('queued')", "print(len(kept))")
    )
    notebook.run(0)
    notebook.start(1)
    notebook.start(2)
    notebook.wait_for_words(1, 40)
    notebook.interrupt()
    notebook.wait(1)
    assert "interrupted" in notebook.text(1)
    assert notebook.answer(1).locator("tbody tr").count() == 3
    assert not notebook.has_output(2)
    notebook.run(3)
    assert 1 <= int(notebook.text(3)) <= 9  # those that had begun
