"""The page that Binder opens with."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.browser
START = Path(__file__).parents[2] / "examples" / "start.ipynb"


def test_it_reads_before_a_kernel_runs_it_and_then_the_panel_and_the_explorer_work(open_notebook):
    notebook = open_notebook(START)
    panel, explorer = notebook.cell(4), notebook.cell(6)
    for cell, text in ((panel, "The panel as it was left"), (explorer, "mass left")):
        cell.get_by_text(text).first.wait_for()
    notebook.run_all()
    generate = panel.get_by_role("button", name="Generate")
    generate.wait_for()
    explorer.locator(".phi-stages tbody button").first.wait_for()
    generate.scroll_into_view_if_needed()
    generate.click()
    panel.get_by_role("status").filter(has_text="tokens/s").wait_for()
    assert not notebook.output(4).get_by_text("The panel as it was left").is_visible()
    assert not notebook.console_errors
