"""Conversations, formats and fixes where a front end must play its part: ids, the next cell, trees, formulas."""

from __future__ import annotations

import pytest

from tests.notebooks import notebook_of

pytestmark = pytest.mark.browser

SETUP = "%load_ext phi_magic\n%config Phi.model = 'demo'\n%config Phi.seed = 1\n%config Phi.n_threads = 1"
QUESTIONS = "from phi_magic import Phi\nprint(*[turn.reply.prompt for turn in Phi().chat().turns], sep=' | ')"


def test_a_turn_belongs_to_its_cell_and_leaves_with_it(open_notebook):
    cells = ["%%phi -c\nWrite a haiku about ice", "%%phi -c\nNow about the sea", "%%phi -c\nAnother one"]
    notebook = open_notebook(notebook_of(SETUP, *cells, QUESTIONS))
    notebook.run_all()
    notebook.wait(4)
    assert notebook.text(4).strip() == "Write a haiku about ice | Now about the sea | Another one"
    notebook.run(2)
    assert "turn 2 asked again; 1 turn after it dropped" in notebook.text(2)
    notebook.run(3)
    notebook.run(4)
    assert notebook.text(4).strip() == "Write a haiku about ice | Now about the sea | Another one"
    notebook.prompt(2).click()
    notebook.page.keyboard.press("d")
    notebook.page.keyboard.press("d")
    notebook.page.wait_for_function("document.querySelectorAll('.jp-Notebook .jp-Cell').length === 4")
    notebook.run(3)
    assert notebook.text(3).strip() == "Write a haiku about ice | Another one"


def test_the_corrected_cell_is_put_below_by_a_button_and_is_not_run(open_notebook):
    notebook = open_notebook(notebook_of(SETUP, "numbers = [1, 2, 3]\nprint(numbers[3])", "%phi_fix -t 0", "last = 1"))
    for index in (0, 1, 2, 2, 2):
        notebook.run(index)
    assert notebook.page.locator(".jp-Notebook .jp-Cell").count() == 4
    notebook.prompt(0).click()  # another cell is the active one
    notebook.output(2).get_by_role("button", name="Insert as a cell below").click()
    notebook.page.wait_for_function("document.querySelectorAll('.jp-Notebook .jp-Cell').length === 5")
    notebook.page.wait_for_function(
        "document.querySelectorAll('.jp-Notebook .jp-Cell')[3].textContent.includes('print(numbers[')"
    )
    assert not notebook.has_output(3)
    assert notebook.prompt(3).text_content().strip() in {"[ ]:", "[\xa0]:"}


SHOW = "from phi_magic.rendering.formats import bundle\nfrom IPython.display import display\ndisplay(bundle({!r}, {!r}), raw=True)"


def test_json_is_shown_in_its_own_order(open_notebook):
    notebook = open_notebook(notebook_of(SETUP, SHOW.format('{"name": "Ida", "age": 7}', "json")))
    notebook.run(0)
    notebook.run(1)
    assert notebook.text(1).split() == ["{", '"name":', '"Ida",', '"age":', "7", "}"]


def test_a_formula_is_typeset(open_notebook):
    notebook = open_notebook(notebook_of(SETUP, SHOW.format("\\int_0^1 x^2 \\, dx = \\frac{1}{3}", "math")))
    notebook.run(0)
    notebook.run(1)
    notebook.answer(1).last.locator("mjx-container").wait_for(state="attached")


HOSTILE = """
<h1 style="color: rgb(0, 128, 128)">Ice</h1><script>window.caught = true</script>
<img src="http://203.0.113.1/a.png" onerror="window.caught = true"><img src="/api/status" onerror="window.caught = true">
<p style="background: url(http://203.0.113.1/b.png); position: fixed; inset: 0">$\\href{javascript:window.caught=true}{x}$</p>
<style>@import "http://203.0.113.1/d.css"; body { display: none }</style><svg onload="window.caught = true"></svg>
<button data-commandlinker-command="terminal:create-new">a</button><a href="javascript:window.caught=true">b</a>
"""


def test_html_draws_and_does_nothing_else(open_notebook):
    notebook = open_notebook(notebook_of(SETUP, SHOW.format(HOSTILE, "html")))
    notebook.run(0)
    before = len(notebook.requests)
    notebook.run(1)
    heading = notebook.output(1).locator("h1")
    heading.wait_for()
    assert heading.evaluate("element => getComputedStyle(element).color") == "rgb(0, 128, 128)"
    assert notebook.answer(1).locator("mjx-container, script, style, button, svg, a[href]").count() == 0
    assert not notebook.page.evaluate("window.caught")
    assert not notebook.foreign_requests
    assert not [url for url in notebook.requests[before:] if url.endswith("/api/status")]
