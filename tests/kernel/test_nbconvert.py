"""A notebook of answers, exported: each answer once, readable, with nothing that runs."""

from __future__ import annotations

import html
import re

import nbconvert
import pytest

from tests.notebooks import notebook_of, run_notebook

pytestmark = pytest.mark.kernel


@pytest.fixture
def answered(slow_start):
    return run_notebook(notebook_of(slow_start, "%%phi --seed 1 -n 30\nWrite about ice"))


def answer_of(notebook):
    return next(out.data["text/plain"] for out in notebook.cells[1].outputs if "phi_magic" in out.metadata)


@pytest.mark.parametrize("exporter", [nbconvert.HTMLExporter, nbconvert.MarkdownExporter, nbconvert.RSTExporter])
def test_an_answer_appears_once_with_its_statistics(answered, exporter):
    body, _ = exporter().from_notebook_node(answered)
    read = " ".join(html.unescape(re.sub(r"<[^>]+>", "", body)).split())
    assert read.count(" ".join(answer_of(answered).split())) == 1
    assert read.count("seed 1 · length") == 1
    assert "loading" not in read
    assert "reading the prompt" not in read
