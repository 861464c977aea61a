"""The panel in JupyterLab and in Notebook 7, under a person's hands."""

from __future__ import annotations

import re

import pytest

from phi_magic.models.known import KNOWN
from tests.notebooks import notebook_of

pytestmark = pytest.mark.browser

HAIKU = "Write a haiku about ice hockey"
SETUP = """\
%load_ext phi_magic
from phi_magic import Phi
[phi] = [one for one in get_ipython().configurables if isinstance(one, Phi)]
phi.model = "demo"
"""


def slider(notebook, cell, name):
    return notebook.output(cell).get_by_role("slider", name=name, exact=True)


def field(notebook, cell, name):
    """The field beside a slider, where a number can be typed."""
    return notebook.output(cell).get_by_role("textbox", name=name, exact=True)


def drag(notebook, slider, to):
    """Drag a slider to this part of its range, as a person does."""
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    y = box["y"] + box["height"] / 2
    notebook.page.mouse.move(box["x"] + box["width"] / 3, y)
    notebook.page.mouse.down()
    notebook.page.mouse.move(box["x"] + box["width"] * to, y, steps=4)
    notebook.page.mouse.up()


def status(notebook, cell, text):
    return notebook.output(cell).get_by_role("status").filter(has_text=text)


def test_a_slider_sets_the_trait_and_config_moves_every_slider(open_notebook):
    from playwright.sync_api import expect

    notebook = open_notebook(
        notebook_of(SETUP, "%phi_panel", "%phi_panel", "print(phi.temperature)", "%config Phi.temperature = 1.25")
    )
    for cell in range(3):
        notebook.run(cell)
    drag(notebook, slider(notebook, 1, "temperature"), 0.7)
    expect(field(notebook, 2, "temperature")).to_have_value(re.compile(r"1\.[345]"))
    notebook.run(3)
    assert notebook.text(3).strip() == field(notebook, 1, "temperature").input_value()
    # By keyboard: a slider's own keys, and a number that is typed.
    slider(notebook, 1, "temperature").press("Home")
    expect(field(notebook, 2, "temperature")).to_have_value("0")
    slider(notebook, 1, "temperature").press("ArrowRight")
    expect(field(notebook, 2, "temperature")).to_have_value("0.05")
    field(notebook, 2, "temperature").fill("0.35")
    field(notebook, 2, "temperature").press("Enter")
    expect(field(notebook, 1, "temperature")).to_have_value("0.35")
    notebook.run(4)
    for cell in (1, 2):
        expect(field(notebook, cell, "temperature")).to_have_value("1.25")
        expect(slider(notebook, cell, "temperature")).to_have_value("1.25")
    assert not notebook.console_errors


def test_an_open_panel_and_explorer_change_no_setting_and_take_what_is_typed(open_notebook):
    from playwright.sync_api import expect

    given = {"temperature": 0.77, "min_p": 0.005, "top_p": 0.333, "repeat_penalty": 0.1}
    show = f"print({{name: getattr(phi, name) for name in {list(given)}}})"
    configured = [f"%config Phi.{name} = {value}" for name, value in given.items()]
    notebook = open_notebook(
        notebook_of(
            SETUP, "\n".join(configured[:3]), f"%phi_panel {HAIKU}", f"%phi_explore {HAIKU}", configured[3], show
        )
    )
    for cell in range(5):
        notebook.run(cell)
    expect(field(notebook, 2, "repeat penalty")).to_have_value("0.1")
    expect(field(notebook, 3, "min-p")).to_have_value("0.005")
    notebook.page.wait_for_timeout(500)  # for what a page might send back
    notebook.run(5)
    assert notebook.text(5).strip() == str(given)

    for typed in ("0.123456", "4.9"):  # between two steps; above the slider's range
        field(notebook, 2, "temperature").fill(typed)
        field(notebook, 2, "temperature").press("Enter")
        given["temperature"] = float(typed)
        notebook.run(5)
        assert notebook.text(5).strip() == str(given)
        expect(field(notebook, 2, "temperature")).to_have_value(typed)
    field(notebook, 2, "temperature").fill("warm")
    field(notebook, 2, "temperature").press("Enter")
    notebook.output(2).get_by_role("alert").filter(has_text="temperature must be a number from 0 to 5").wait_for()
    expect(field(notebook, 2, "temperature")).to_have_value("4.9")
    assert not notebook.console_errors


def test_ctrl_enter_generates_the_cell_is_copied_and_an_answer_grows_old(open_notebook):
    from playwright.sync_api import expect

    notebook = open_notebook(
        notebook_of(SETUP, "%phi_panel", "print(phi.last and phi.last.prompt)"),
        permissions=["clipboard-read", "clipboard-write"],
    )
    notebook.run(0)
    notebook.run(1)
    notebook.run(2)  # a notebook is trusted whose cells were all run
    prompt = notebook.output(1).get_by_placeholder("What to ask")
    prompt.fill(HAIKU)
    number = notebook.prompt(1).text_content()
    prompt.press("Control+Enter")
    status(notebook, 1, "tokens/s").wait_for()
    assert notebook.prompt(1).text_content() == number  # the cell was not run again
    code = notebook.output(1).locator(".phi-code")
    code.get_by_role("button", name="Copy").click()
    code.get_by_text("Copied").wait_for()
    assert notebook.page.evaluate("navigator.clipboard.readText()") == code.locator("pre").inner_text()
    assert code.locator("pre").inner_text().startswith("%%phi -m demo --seed ")
    cells = notebook.page.locator(".jp-Notebook .jp-Cell")
    code.get_by_role("button", name="Insert as a cell below").click()
    expect(cells).to_have_count(4)
    expect(cells.nth(2)).to_contain_text("%%phi -m demo --seed ")
    assert notebook.prompt(2).text_content().strip() in {"[ ]:", "[\xa0]:"}  # it was not run
    code.get_by_role("checkbox").check()
    expect(code.locator("pre")).to_contain_text("--top-p 0.95")
    slider(notebook, 1, "temperature").press("End")
    status(notebook, 1, "An old answer: temperature (0.8 → 2.0) changed since.").wait_for()
    notebook.run(3)
    assert notebook.text(3).strip() == HAIKU
    assert not notebook.console_errors


def test_the_model_field_offers_all_models_also_when_it_has_one(open_notebook, servers, application):
    hub = servers(application).root.parent / "hf" / "hub" / "models--someone--tiny"
    for part in ("snapshots/c0ffee", "refs"):
        (hub / part).mkdir(parents=True)
    (hub / "refs" / "main").write_text("c0ffee")
    (hub / "snapshots" / "c0ffee" / "tiny.gguf").write_bytes(b"GGUF")
    notebook = open_notebook(notebook_of(SETUP, "%phi_panel", "print(phi.model)"))
    notebook.run(0)
    notebook.run(1)
    model = notebook.output(1).get_by_role("combobox", name="model")
    model.click()
    assert model.input_value() == ""  # the page's list has all that begins with this
    offered = model.evaluate("field => [...field.list.options].map((one) => one.value)")
    assert {*KNOWN, "someone/tiny/tiny.gguf"} <= {*offered}
    model.press("Tab")
    assert model.input_value() == "demo"
    model.fill("phi-2")
    model.press("Tab")
    notebook.run(2)
    assert notebook.text(2).strip() == "phi-2"


def test_an_answer_streams_and_stops_and_a_cell_waits_its_turn(open_notebook, slow_model):
    from playwright.sync_api import expect

    setup = f"{SETUP}phi.model, phi.max_tokens, phi.n_threads = {str(slow_model)!r}, 2000, 1"
    notebook = open_notebook(notebook_of(setup, f"%phi_panel {HAIKU}", "%%phi -n 3\nWrite about ice"))
    notebook.run(0)
    notebook.run(1)
    generate = notebook.output(1).get_by_role("button", name="Generate")
    stop = notebook.output(1).get_by_role("button", name="Stop")
    notebook.record(1)
    generate.click()
    status(notebook, 1, "tokens/s").wait_for()
    seen = len(notebook.recorded(1))
    notebook.page.wait_for_function(
        "([element, seen]) => element.recorded.length > seen + 3",
        arg=[notebook.cell(1).locator(".jp-Cell-outputWrapper").element_handle(), seen],
    )
    notebook.start(2)
    notebook.output(2).get_by_text("waiting for another answer to end").wait_for()
    notebook.interrupt()  # reaches the cell that waits, not the panel
    notebook.wait(2)
    stop.click()
    status(notebook, 1, "interrupted").wait_for()
    expect(generate).to_be_enabled()
    notebook.run(2)
    assert len(notebook.answer(2).first.inner_text().split()) == 3

    notebook.output(1).get_by_placeholder("What to ask").fill("the puck glides " * 200)
    generate.click()
    notebook.page.wait_for_timeout(300)
    stop.click()
    status(notebook, 1, "0 tokens").filter(has_text="interrupted").wait_for()
    assert not notebook.console_errors


def test_saved_and_opened_again_it_still_reads(open_notebook):
    notebook = open_notebook(notebook_of(SETUP, f"phi.seed = 7\n%phi_panel {HAIKU}"))
    notebook.run(0)
    notebook.run(1)
    notebook.output(1).get_by_role("button", name="Generate").click()
    status(notebook, 1, "seed 7").wait_for()
    saved = notebook.output(1).locator("[class^=phi-saved]")
    assert not saved.is_visible()
    answer = notebook.output(1).locator(".phi-answer").first.inner_text()
    notebook.page.wait_for_timeout(500)
    reopen(notebook)
    saved.wait_for()
    for text in (answer.split("\n")[0], HAIKU, "%%phi -m demo", "temperature"):
        assert text in saved.inner_text()
    assert not notebook.output(1).get_by_text("Error displaying widget").is_visible()


def test_a_kernel_that_is_started_again_leaves_what_was_there_to_be_read(open_notebook):
    notebook = open_notebook(notebook_of(SETUP, f"phi.seed = 7\n%phi_panel {HAIKU}", f"%phi_explore {HAIKU}"))
    for cell in range(3):
        notebook.run(cell)
    generate = notebook.output(1).get_by_role("button", name="Generate")
    generate.click()
    status(notebook, 1, "seed 7").wait_for()
    answer = notebook.output(1).locator(".phi-answer").first.inner_text()
    bars = notebook.output(2).locator(".phi-stages").inner_text()
    notebook.restart()
    generate.click()  # to no avail
    notebook.output(2).get_by_role("button", name="Likeliest").click()
    for cell, text in ((1, answer), (2, bars)):
        assert text in notebook.text(cell)
        assert "Error" not in notebook.text(cell)
    assert notebook.page.locator(".jp-Dialog").count() == 0

    notebook.save()
    notebook.page.wait_for_timeout(1500)
    notebook.page.reload()  # the kernel runs, and knows nothing of the panel
    saved = notebook.output(1).locator("[class^=phi-saved]")
    saved.wait_for()
    assert answer.split("\n")[0] in saved.inner_text()
    assert not notebook.output(1).get_by_text("Error displaying widget").is_visible()
    for _ in range(2):  # so that the panel's cell gets another number than it had
        notebook.start(0)
    notebook.run(1)
    notebook.output(1).get_by_role("button", name="Generate").wait_for()
    assert not saved.is_visible()


def reopen(notebook):
    """Save, shut the kernel down, and open the notebook as one finds it another day."""
    notebook.save()
    notebook.page.wait_for_timeout(1500)
    notebook.shut_down()
    notebook.page.goto(notebook.page.url.split("?")[0] + "?reset")
    notebook.page.locator(".jp-Notebook .jp-Cell").first.wait_for()
