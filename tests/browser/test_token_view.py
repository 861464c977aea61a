"""The token view in JupyterLab and in Notebook 7, under a person's hands."""

from __future__ import annotations

import pytest

from tests.browser.test_panel import HAIKU, SETUP, reopen
from tests.notebooks import notebook_of

pytestmark = pytest.mark.browser

HOSTILE = """\
from phi_magic import Reply
from phi_magic.reply import Alternative, Token
texts = ["<script>window.caught = 1</script>", "<img src='http://203.0.113.1/a.png' onerror='window.caught = 1'>",
         "[a](javascript:window.caught=1)", "</style><iframe src='http://203.0.113.1/'>"]
top = tuple(Alternative(at, text, -1.0, 0.2) for at, text in enumerate(texts))
Reply(prompt=texts[0], model="demo", params={}, seed=0, tokens=[Token(9, text, -1.0, 0.2, 1, top) for text in texts]).show_tokens()
"""


def test_an_alternative_begins_a_branch_and_both_stay(open_notebook):
    notebook = open_notebook(notebook_of(SETUP, f"%%phi -f tokens --seed 7 -o reply\n{HAIKU}", "reply.show_tokens()"))
    notebook.run(0)
    notebook.run(1)
    branches = notebook.output(1).locator(".phi-branch")
    tokens = branches.first.locator(".phi-branch-text button")
    tokens.first.wait_for()
    before = tokens.all_inner_texts()
    tokens.nth(2).hover()
    menu = notebook.page.get_by_role("menu").filter(has_text="surprise")
    menu.wait_for()
    assert "→" in menu.inner_text()

    tokens.first.focus()  # and with the keyboard alone
    for key in ("ArrowRight", "ArrowRight", "Enter", "ArrowDown"):
        notebook.page.keyboard.press(key)
    taken = notebook.page.evaluate("document.activeElement.children[1].textContent")
    notebook.page.keyboard.press("Enter")
    branches.nth(1).locator(".phi-branch-text button").nth(3).wait_for()
    notebook.output(1).get_by_role("status").filter(has_text="seed 7").wait_for()
    branch = branches.nth(1).locator(".phi-branch-text button").all_inner_texts()
    assert branch[:2] == before[:2]
    assert branch[2].startswith(taken)
    assert tokens.all_inner_texts() == before
    assert not notebook.console_errors

    saved = notebook.output(1).locator("[class^=phi-saved]")
    assert not saved.is_visible()
    notebook.page.wait_for_timeout(500)
    reopen(notebook)
    saved.wait_for()
    assert saved.locator("ruby").count() == len(before) + len(branch)
    assert "branch of answer 1 at token 3" in saved.inner_text()


def test_a_legend_two_scales_plain_text_and_what_becomes_of_a_branch(open_notebook):
    notebook = open_notebook(notebook_of(SETUP, f"%%phi -f tokens --seed 7 -o reply\n{HAIKU}", "print(reply.text)"))
    for cell in range(3):
        notebook.run(cell)
    output = notebook.output(1)
    branches = output.locator(".phi-branch")
    tokens = branches.first.locator(".phi-branch-text button")
    tokens.first.wait_for()
    assert not output.get_by_role("button", name="Stop").is_visible()

    def colours():
        return tokens.evaluate_all("all => all.map((one) => one.style.backgroundColor)")

    strip = branches.first.locator(".phi-legend-strip span")
    assert strip.all_inner_texts() == ["0", "2", "4", "6", "8+"]
    in_bits = colours()
    branches.first.get_by_role("combobox", name="what the shades show").select_option("quantiles")
    assert len({*colours()}) > len({*in_bits})
    assert strip.first.inner_text() == "0"
    assert strip.last.inner_text() != "8+"

    plain = branches.first.get_by_role("button", name="Plain text")
    plain.click()
    assert branches.first.locator("pre").inner_text().split() == notebook.text(2).split()
    assert not tokens.first.is_visible()
    output = notebook.output(1)
    plain.click()

    notebook.page.set_viewport_size({"width": 700, "height": 420})
    for discarded in (True, False):
        tokens.last.focus()
        for key in ("ArrowLeft", "Enter", "ArrowDown", "Enter"):
            notebook.page.keyboard.press(key)
        output.get_by_role("button", name="Discard").wait_for()
        new = branches.nth(1).locator(".phi-branch-text button:not(.phi-begun)").first
        new.wait_for()
        notebook.page.locator(".phi-branch-choices button:enabled").first.wait_for()
        notebook.page.wait_for_function(
            "one => { const box = one.getBoundingClientRect(); return box.top >= 0 && box.bottom <= innerHeight; }",
            arg=new.element_handle(),
        )
        if discarded:
            output.get_by_role("button", name="Discard").click()
            branches.nth(1).wait_for(state="detached")
    written = branches.nth(1).locator(".phi-branch-text button").all_inner_texts()
    output.get_by_role("button", name="Replace answer 1").click()
    branches.nth(1).wait_for(state="detached")
    assert tokens.all_inner_texts() == written
    assert not output.get_by_role("button", name="Discard").is_visible()
    assert not notebook.console_errors


def test_what_a_token_says_never_runs_nor_makes_a_request(open_notebook):
    notebook = open_notebook(notebook_of(SETUP, HOSTILE))
    notebook.run(0)
    notebook.run(1)
    tokens = notebook.output(1).locator(".phi-branch-text button")
    tokens.first.wait_for()
    tokens.first.hover()
    notebook.page.get_by_role("menu").filter(has_text="javascript").wait_for()
    assert "<script>" in tokens.first.inner_text()
    reopen(notebook)
    saved = notebook.output(1).locator("[class^=phi-saved]")
    saved.wait_for()
    assert "<script>" in saved.inner_text()
    assert notebook.page.evaluate("window.caught") is None
    assert notebook.foreign_requests == []
