"""The explorer in JupyterLab and in Notebook 7, under a person's hands."""

from __future__ import annotations

import pytest

from tests.browser.test_panel import HAIKU, SETUP, drag, field, reopen, slider
from tests.notebooks import notebook_of

pytestmark = pytest.mark.browser

# Every look at logits, which is what costs a pass through the model, is counted from here on.
COUNT = """\
from phi_magic.generation.worker import Worker
looks, real = [], Worker.look
def counted(self, *arguments, **options):
    looks.append(1)
    return real(self, *arguments, **options)
Worker.look = counted
"""


def test_bars_follow_the_sliders_without_a_decode_and_any_token_can_be_taken(open_notebook):
    notebook = open_notebook(notebook_of(SETUP, f"%phi_explore -t 0.8 {HAIKU}", COUNT, "print(len(looks))"))
    notebook.run(0)
    notebook.run(1)
    bars = notebook.output(1).locator(".phi-stages")
    tokens = bars.locator("tbody button")
    tokens.first.wait_for()
    notebook.run(2)
    before = bars.inner_text()
    drag(notebook, slider(notebook, 1, "temperature"), 0.8)
    notebook.page.wait_for_function(
        "([element, before]) => element.innerText !== before", arg=[bars.element_handle(), before]
    )
    field(notebook, 1, "top-k").fill("2")
    field(notebook, 1, "top-k").press("Enter")
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
    assert [text.split("\n")[0] for text in path.all_inner_texts()] == [taken]  # its probability stands below
    for count in (2, 3):
        notebook.output(1).get_by_role("button", name="Likeliest").click()
        path.nth(count - 1).wait_for()
    notebook.output(1).get_by_role("button").filter(has_text="Back").click()
    notebook.output(1).locator(".phi-path .phi-ahead").wait_for()
    assert not notebook.console_errors


def test_a_token_taken_by_keyboard_leaves_the_focus_in_its_place(open_notebook):
    notebook = open_notebook(notebook_of(SETUP, f"%phi_explore --seed 3 {HAIKU}"))
    notebook.run(0)
    notebook.run(1)
    output = notebook.output(1)
    tokens = output.locator(".phi-stages tbody button")
    tokens.nth(1).focus()
    for count in (1, 2):
        notebook.page.keyboard.press("Enter")
        output.locator(f".phi-path button:nth-child({count})").wait_for()
        assert tokens.nth(1).evaluate("element => element === document.activeElement")
    draw = output.get_by_role("button", name="Draw")
    draw.focus()
    for count in (3, 4):
        notebook.page.keyboard.press("Space")
        output.locator(f".phi-path button:nth-child({count})").wait_for()
        notebook.page.wait_for_function("element => element === document.activeElement", arg=draw.element_handle())
    assert not notebook.console_errors


def test_two_settings_stand_side_by_side_with_the_tail_and_the_curve_of_each(open_notebook):
    line = f'%phi_explore --compare "-t 0.8" "-t 1.5 --top-p 0.9" --seed 3 {HAIKU}'
    notebook = open_notebook(notebook_of(SETUP, line), viewport={"width": 1400, "height": 900})
    notebook.run(0)
    notebook.run(1)
    output = notebook.output(1)
    bars = output.locator(".phi-explorer")
    bars.nth(1).locator("tbody button").first.wait_for()
    left, right = (bars.nth(at).bounding_box() for at in range(2))
    assert abs(left["y"] - right["y"]) < 5
    assert left["x"] + left["width"] <= right["x"]
    tails = [bars.nth(at).locator(".phi-tail .phi-bar").nth(1).bounding_box()["width"] for at in range(2)]
    assert tails[1] > 2 * tails[0]
    assert output.locator(".phi-curve").nth(1).get_by_text("top-p 0.9").count() == 1
    assert output.locator(".phi-curve").nth(1).locator("polyline").count() == 3
    output.get_by_role("button", name="Draw").click()
    for at in range(2):
        bars.nth(at).locator(".phi-path button").first.wait_for()
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
    for text in ("cut by top-p", HAIKU, "mass left", "others"):
        assert text in saved.inner_text()
    bar, tail = (saved.locator("tr", has_text=text).locator("div").first for text in ("cut by top-p", "others"))
    assert bar.bounding_box()["width"] < tail.bounding_box()["width"]
