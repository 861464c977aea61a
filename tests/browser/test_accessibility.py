"""Panel, explorer and token view for those who listen to a page, and for those whose page is narrow."""

from __future__ import annotations

import pytest

from tests.browser.test_panel import HAIKU, SETUP, slider
from tests.notebooks import notebook_of

pytestmark = pytest.mark.browser
CELLS = {
    "panel": f"%phi_panel {HAIKU}",
    "explorer": f"%phi_explore {HAIKU}",
    "tokens": f"%%phi -f tokens --seed 7\n{HAIKU}",
}
READY = {"panel": "button", "explorer": ".phi-stages tbody button", "tokens": ".phi-branch-text button"}
PARAMETERS = ["temperature", "top-p", "top-k", "min-p", "repeat penalty", "repeat last n"]


@pytest.fixture
def shown(open_notebook):
    def shown():
        notebook = open_notebook(notebook_of(SETUP, *CELLS.values()))
        for cell in range(4):
            notebook.run(cell)
            if cell:
                notebook.output(cell).locator(list(READY.values())[cell - 1]).first.wait_for()
        return notebook

    return shown


def controls(notebook, cell):
    """What a screen reader can go to in a cell's output: pairs of role and name."""
    session = notebook.page.context.new_cdp_session(notebook.page)
    notebook.shown(cell)
    expression = f"document.querySelectorAll('.jp-Notebook .jp-Cell')[{cell}].querySelector('.jp-Cell-outputArea')"
    output = session.send("Runtime.evaluate", {"expression": expression})["result"]["objectId"]
    node = session.send("DOM.describeNode", {"objectId": output})["node"]["backendNodeId"]
    nodes = session.send("Accessibility.queryAXTree", {"backendNodeId": node})["nodes"]
    return [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
        and any(one["name"] == "focusable" and one["value"]["value"] for one in node.get("properties", ()))
    ]


def test_every_control_has_a_name_that_can_be_read_out(shown):
    notebook = shown()
    slider(notebook, 2, "min-p").wait_for()
    found = {name: controls(notebook, cell) for cell, name in enumerate(CELLS, 1)}
    for name, parts in found.items():
        assert parts, name
        assert not [role for role, text in parts if not text.strip()], name
        assert not [text for _, text in parts if any("\ue000" <= character <= "\uf8ff" for character in text)]
        assert not [text for role, text in parts if role == "generic"]
    for name, parameters in (("panel", [*PARAMETERS, "max tokens"]), ("explorer", PARAMETERS)):
        assert [text for role, text in found[name] if role == "slider"] == parameters
    assert {"Generate", "Reset", "Defaults", "Close", "Lock", "Roll"} <= {text.strip() for _, text in found["panel"]}


def test_every_control_says_what_it_does_and_every_slider_from_where_to_where_it_goes(shown):
    notebook = shown()
    slider(notebook, 2, "min-p").wait_for()
    for cell, name in enumerate(CELLS, 1):
        silent = notebook.output(cell).evaluate(
            """area => [...area.querySelectorAll("button, input, select, textarea")]
                .filter((one) => one.checkVisibility() && !one.closest(".phi-branch-text") && !one.closest("[title]:not([title=''])"))
                .map((one) => `${one.tagName} ${one.className} ${one.textContent}`)"""
        )
        assert silent == [], name
    ends = [row.split() for row in notebook.output(1).locator(".phi-slider-ends").all_inner_texts()]
    assert ends == [["0", "2"], ["0", "1"], ["0", "200"], ["0", "1"], ["0.8", "2"], ["0", "512"], ["1", "2048"]]


def test_at_400_pixels_nothing_is_cut_off_nor_scrolls_sideways(shown):
    notebook = shown()
    if notebook.server.application == "lab":
        notebook.page.keyboard.press("Control+b")  # hides the list of files
    notebook.page.set_viewport_size({"width": 400, "height": 900})
    notebook.page.wait_for_timeout(500)
    for cell, name in enumerate(CELLS, 1):
        too_wide = notebook.output(cell).evaluate(
            """area => {
                const edge = area.getBoundingClientRect().right + 1;
                const seen = [area, ...area.querySelectorAll("*")].filter((one) => one.checkVisibility());
                return seen.filter((one) => one.getBoundingClientRect().right > edge
                        || (one.matches("th, td, button, div.jp-OutputArea-output") && one.scrollWidth > one.clientWidth + 1
                            && getComputedStyle(one).overflowX !== "visible"))
                    .map((one) => `${one.tagName} ${one.className} ${one.textContent.slice(0, 40)}`);
            }"""
        )
        assert too_wide == [], name
