"""A notebook of answers, exported: each answer once, readable, with nothing that runs."""

from __future__ import annotations

import html
import re

import nbconvert
import pytest

from tests.notebooks import notebook_of, run_notebook
from tests.thinking_model import write_thinking_model

pytestmark = pytest.mark.kernel


@pytest.fixture
def answered(slow_start):
    return run_notebook(notebook_of(slow_start, "%%phi --seed 1 -n 30\nWrite about ice"))


def answer_of(notebook):
    return next(out.data["text/plain"] for out in notebook.cells[1].outputs if "phi_magic" in out.metadata)


@pytest.mark.parametrize("exporter", [nbconvert.HTMLExporter, nbconvert.MarkdownExporter])
def test_an_answer_appears_once_with_its_statistics(answered, exporter):
    body, _ = exporter().from_notebook_node(answered)
    read = " ".join(html.unescape(re.sub(r"<[^>]+>", "", body)).split())
    assert read.count(" ".join(answer_of(answered).split())) == 1
    assert read.count("seed 1 · length") == 1
    assert "loading" not in read
    assert "reading the prompt" not in read


def test_thoughts_stay_folded_above_their_answer(tmp_path):
    model = write_thinking_model(tmp_path / "thinking.gguf")
    notebook = run_notebook(
        notebook_of(f"%load_ext phi_magic\n%config Phi.model = {str(model)!r}", "%%phi --seed 1\nHow many?")
    )
    page, _ = nbconvert.HTMLExporter().from_notebook_node(notebook)
    folded = re.search(r"<details><summary[^>]*>(.*?)</summary>(.*?)</details>(.*)", page, re.DOTALL)
    assert folded[1].startswith("thought for 6 tokens, ")
    assert "Hm, five." in folded[2]
    assert "Five!" in folded[3]
    assert page.count("Hm, five.") == 1
    text, _ = nbconvert.MarkdownExporter().from_notebook_node(notebook)
    assert "Five!" in text
    assert "Hm, five." not in text.replace(folded[2], "")


def test_markdown_is_markdown():
    notebook = run_notebook(
        notebook_of(
            "%load_ext phi_magic\n%config Phi.model = 'demo'",
            "%%phi --seed 7\nWrite a haiku about ice hockey",
            "%%phi_sweep temperature=0.2,1.5 seed=1,2 -n 8\nWrite a haiku about ice hockey",
            "%phi_models info demo",
            "%%phi -f code -t 0\nWrite a Python function that adds two numbers",
            "rows = ['ice', 'snow']",
            "%%phi_map rows -n 8 --seed 1\nWrite a haiku about {{ text }}",
        )
    )
    body, _ = nbconvert.MarkdownExporter().from_notebook_node(notebook)
    assert "<style" not in body
    assert "<table" not in body
    assert "| temperature | seed 1 | seed 2 |" in body.splitlines()
    assert "```python\ndef add(" in body
    assert "| text | answer |\n" in body


SHOWING = """\
from phi_magic import Phi
from phi_magic.widgets.panel import Panel
panel = Panel(Phi(model="demo", seed=7), "Write a haiku about ice hockey")
panel.saved.show()
panel.ask()
panel.wait()
"""


def test_panel_explorer_and_tokens_show_their_last_state_without_a_script():
    notebook = run_notebook(
        notebook_of(
            "%load_ext phi_magic\n%config Phi.model = 'demo'",
            SHOWING,
            "%phi_explore -t 1.5 --top-p 0.5 Write a haiku about ice hockey",
            "%%phi -f tokens --seed 7 -o reply\nWrite a haiku about ice hockey",
            "panel.phi.temperature = 1.85",  # the panel's output above tells of it
            "print(reply.text)",
        )
    )
    panel, explorer, tokens = (
        [out.data for out in cell.outputs if "text/html" in out.get("data", {})] for cell in notebook.cells[1:4]
    )
    answer = notebook.cells[5].outputs[0].text.strip()
    wanted = [
        (panel[0], ["temperature", "1.85", "seed 7 · stop", "%%phi -m demo", *answer.split("\n")]),
        (explorer[0], ["mass left", "cut by top-p", "Write a haiku about ice hockey"]),
        (tokens[0], ["rank 1 · surprise"]),
    ]
    body, _ = nbconvert.HTMLExporter().from_notebook_node(notebook)
    page = html.unescape(re.sub(r"<script.*?</script>|<style.*?</style>", "", body, flags=re.DOTALL))
    for data, texts in wanted:
        assert "<script" not in data["text/html"]
        assert all(text in page for text in texts)
    markdown, _ = nbconvert.MarkdownExporter().from_notebook_node(notebook)
    assert "<style" not in markdown
    assert explorer[0]["text/html"].count("background") > 5  # its bars
    for text in ("temperature: 1.85", "cut by top-p", "⟨"):
        assert any(text in data["text/plain"] for data, _ in wanted)
