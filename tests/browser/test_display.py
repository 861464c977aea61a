"""An answer in JupyterLab and in Notebook 7, as a person sees it."""

from __future__ import annotations

import pytest

from tests.notebooks import notebook_of

pytestmark = pytest.mark.browser


def test_an_answer_streams_in_visible_steps(open_notebook, slow_start):
    notebook = open_notebook(notebook_of(slow_start, "%%phi --seed 1 -n 100\nWrite about ice hockey"))
    notebook.run(0)
    notebook.record(1)
    notebook.run(1)
    words = [len(state.split()) for state in notebook.recorded(1)]
    assert len({count for count in words if 0 < count < 100}) >= 3
    assert "seed 1" in notebook.text(1)
    assert "length" in notebook.text(1)
    assert not notebook.console_errors


def test_an_interrupt_keeps_the_answer_and_the_queue_stops(open_notebook, slow_start):
    ask = "%%phi --seed 1 -n 2000 -o answer\nWrite about ice hockey"
    notebook = open_notebook(notebook_of(slow_start, ask, "print('this was queued')", "print(answer.finish_reason)"))
    notebook.run(0)
    notebook.start(1)
    notebook.start(2)
    notebook.wait_for_words(1, 5)
    notebook.interrupt()
    notebook.wait(1)
    assert "interrupted" in notebook.text(1)
    assert len(notebook.answer(1).first.inner_text().split()) >= 5
    assert not notebook.has_output(2)
    notebook.run(3)
    assert notebook.text(3).strip() == "interrupted"


def test_running_a_cell_again_gives_the_same_text(open_notebook, slow_start):
    ask = "%%phi --seed 1 -n 40 -o answer\nWrite about ice hockey"
    notebook = open_notebook(notebook_of(slow_start, ask, "print(answer.text)"))
    notebook.run_all()
    notebook.wait(2)
    first = notebook.text(2)
    notebook.run(1)
    notebook.run(2)
    assert len(first.split()) == 40
    assert notebook.text(2) == first


HOSTILE = """
<script>window.caught = true</script>
<img src="http://203.0.113.1/a.png" onerror="window.caught = true">
![a picture](http://203.0.113.1/b.png)
[a link](javascript:window.caught=true)
<iframe src="http://203.0.113.1/c.html"></iframe>
<svg onload="window.caught = true"></svg>
<style>@import "http://203.0.113.1/d.css";</style>
"""


def test_what_a_model_writes_never_runs_nor_makes_a_request(open_notebook):
    show = f"from phi_magic import Reply\nReply(prompt='', model='', params={{}}, seed=0, text={HOSTILE!r})"
    notebook = open_notebook(notebook_of(show))
    notebook.run(0)
    assert "<script>" in notebook.text(0)
    assert notebook.page.evaluate("window.caught") is None
    assert notebook.foreign_requests == []
    assert notebook.answer(0).locator("img, script, iframe, style, svg, [href^=javascript]").count() == 0
