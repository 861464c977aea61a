"""Every block of code in docs/ and the README: those of notebooks and of Python run, in the order of their page, and none is left out."""

from __future__ import annotations

import ast
import pkgutil
import re
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

import phi_magic

PROJECT = Path(__file__).parent.parent
DOCS = PROJECT / "docs"
PAGES = [PROJECT / "README.md", *sorted(DOCS.rglob("*.md"))]
RUN = {"python", "ipython"}
#: What is no cell: what a program says, what a shell is told, what Sphinx is asked for.
NOT_RUN = {"text", "console", "yaml", "{eval-rst}", "{image}", "{include}", "{toctree}"}
#: Cells that need what the tests do not have: their page, a word of theirs, and what is missing.
NOT_HERE = [
    ("install.md", "!pip install", "a network"),
    ("servers.md", "http://localhost:8000", "a server"),
    ("cluster.md", "import ray", "Ray, which is 83 MB"),
]
_CODE = {"fence", "code_block"}  # what Markdown calls a fenced and an indented block


def blocks(page):
    """Every block of code of a page, with its language: '' where none is named, as of an indented one."""
    return [token for token in MarkdownIt().parse(page.read_text(encoding="utf-8")) if token.type in _CODE]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_a_block_says_whether_it_runs(page):
    assert {block.info.partition(" ")[0] for block in blocks(page)} <= RUN | NOT_RUN


def is_here(page, block):
    return not any(page.name == name and word in block.content for name, word, _ in NOT_HERE)


def is_code(text):
    """Whether a text is a cell: Python, or a magic."""
    try:
        return bool(ast.parse(text).body) if not text.startswith(("%", "!")) else True
    except SyntaxError:
        return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_no_cell_passes_for_a_command_or_the_output_of_a_program(page):
    for block in blocks(page):
        if block.info == "console":
            assert block.content.startswith("$ "), block.content
        if block.info == "text":
            assert not is_code(block.content), block.content


@pytest.mark.parametrize(("page", "word", "missing"), NOT_HERE)
def test_a_cell_that_is_left_out_is_there(page, word, missing):
    [path] = [path for path in PAGES if path.name == page]
    assert [block.info for block in blocks(path) if word in block.content and block.info in RUN]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_its_cells_run_from_the_top(page, shell, monkeypatch):
    monkeypatch.setenv("PHI_MAGIC_MODEL", "demo")
    shell.run_line_magic("load_ext", "phi_magic")
    for block in blocks(page):
        if block.info.strip() in RUN and is_here(page, block):
            shell.run_cell(block.content).raise_error()


def test_the_workflow_for_replay_is_one_and_calls_the_command():
    [block] = [block for block in blocks(DOCS / "replay.md") if block.info == "yaml"]
    steps = yaml.safe_load(block.content)["jobs"]["replay"]["steps"]
    assert any(step.get("run", "").startswith("phi-magic replay ") for step in steps)


def test_there_are_cells_to_run():
    pages = {page.name for page in PAGES if any(block.info.strip() in RUN for block in blocks(page))}
    assert {"README.md", "index.md", "conversations.md", "structure.md", "replay.md", "models.md"} <= pages


@pytest.mark.parametrize(
    ("page", "example"),
    [
        ("tables", "table"),
        ("structure", "structure"),
        ("conversations", "conversations"),
        ("replay", "replay"),
        ("models", "models"),
        ("servers", "servers"),
        ("sampling", "why-1.5-frays"),
    ],
)
def test_a_page_that_has_a_notebook_opens_with_its_link(page, example):
    opening = (DOCS / f"{page}.md").read_text(encoding="utf-8").partition("\n```")[0]
    assert f"](../examples/{example}.ipynb)" in opening


def test_every_name_in_the_reference_is_there():
    reference = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    names = re.findall(r"^\.\. auto\w+:: ([\w.]+)", reference, re.MULTILINE)
    assert names
    for name in names:
        pkgutil.resolve_name(name)


def test_every_public_name_is_in_the_reference():
    reference = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    for name in phi_magic.__all__:
        assert f"phi_magic.{name}" in reference


@pytest.mark.parametrize("example", sorted((PROJECT / "examples").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_example_is_in_the_gallery_and_in_the_contents(example):
    gallery = (DOCS / "gallery.md").read_text(encoding="utf-8")
    assert f"](../examples/{example.name})" in gallery
    contents = [block for page in PAGES for block in blocks(page) if block.info == "{toctree}"]
    assert sum(f"examples/{example.stem}" in re.split(r"[\s<>]", block.content) for block in contents) == 1
