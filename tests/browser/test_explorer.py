"""The explorer in JupyterLab and in Notebook 7, under a person's hands."""

from __future__ import annotations

import pytest

from tests.browser.test_panel import HAIKU, SETUP, drag, reopen, slider
from tests.notebooks import notebook_of

pytestmark = pytest.mark.browser

# Every pass through the model is counted from here on.
COUNT = """\
from phi_magic.engine.context import Context
passes, real = [], Context._pass
def counted(self, *arguments, **options):
    passes.append(1)
    return real(self, *arguments, **options)
Context._pass = counted
"""


def test_bars_follow_the_sliders_without_a_decode_and_any_token_can_be_taken(open_notebook):
    notebook = open_notebook(notebook_of(SETUP, f"%phi_explore -t 0.8 {HAIKU}", COUNT, "print(len(passes))"))
    notebook.run(0)
    notebook.run(1)
    bars = notebook.output(1).locator(".phi-stages")
    tokens = bars.locator("tbody button")
    tokens.first.wait_for()
    notebook.run(2)
    before = bars.inner_text()
    drag(notebook, slider(notebook, 1, "temperature").locator(".noUi-handle"), 80)
    notebook.page.wait_for_function(
        "([element, before]) => element.innerText !== before", arg=[bars.element_handle(), before]
    )
    typed = slider(notebook, 1, "top-k").locator(".widget-readout")
    typed.fill("2")
    typed.press("Enter")
    bars.get_by_text("cut by top-k").first.wait_for()
    notebook.run(3)
    assert notebook.text(3).strip() == "0"

    taken = tokens.nth(2).inner_text()
    tokens.first.focus()
    notebook.page.keyboard.press("ArrowDown")
    notebook.page.keyboard.press("ArrowDown")
    notebook.page.keyboard.press("Enter")
    path = notebook.output(1).locator(".phi-path button")
    path.first.wait_for()
    assert path.all_inner_texts() == [taken]
    for count in (2, 3):
        notebook.output(1).get_by_role("button", name="Likeliest").click()
        path.nth(count - 1).wait_for()
    notebook.output(1).get_by_role("button").filter(has_text="Back").click()
    notebook.output(1).locator(".phi-path .phi-ahead").wait_for()
    assert not notebook.console_errors


def test_saved_and_opened_again_it_still_reads(open_notebook):
    notebook = open_notebook(notebook_of(SETUP, f"%phi_explore -t 1.5 --top-p 0.5 {HAIKU}"))
    notebook.run(0)
    notebook.run(1)
    notebook.output(1).locator(".phi-stages tbody button").first.wait_for()
    saved = notebook.output(1).locator("[class^=phi-saved]")
    assert not saved.is_visible()
    reopen(notebook)
    saved.wait_for()
    for text in ("cut by top-p", HAIKU, "mass left"):
        assert text in saved.inner_text()
