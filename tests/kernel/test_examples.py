"""The examples run from top to bottom, and are saved with what they answered."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from phi_magic.models.known import KNOWN
from tests.notebooks import TIMEOUT, run_notebook

pytestmark = pytest.mark.kernel
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.ipynb"))
BINDER = 2_000_000_000  # Bytes that Binder gives to a person's server and kernels together.
SERVER = 250_000_000  # What of these JupyterLab's server takes, amply: it was seen to take 113 million.


def run_limited(path, limit):
    """Run a notebook in a kernel that may have so many bytes, and no more; returns it and how many the kernel had.

    The limit is on memory of its own, and phi_magic sees it as it sees a container's; the peak is of all that was
    resident, mapped files and all, which is more than a container counts.
    """
    peak = 0

    def start(**_):
        if sys.platform == "linux":
            import resource

            resource.prlimit(client.km.provisioner.pid, resource.RLIMIT_DATA, (limit, limit))

    def look(**_):
        nonlocal peak
        if sys.platform == "linux":
            status = Path(f"/proc/{client.km.provisioner.pid}/status").read_text()
            peak = 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status)[1])

    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=TIMEOUT, kernel_name="python3", on_notebook_start=start, on_cell_executed=look
    )
    client.execute()
    return notebook, peak


def answers(notebook):
    """The text of every answer, in order."""
    return [output.data["text/plain"] for output in outputs(notebook) if "phi_magic" in output.get("metadata", {})]


def outputs(notebook):
    """Every output of a notebook, in order."""
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def saved(name):
    """An example as it is saved, by its name."""
    return nbformat.read(next(path for path in EXAMPLES if path.stem == name), as_version=4)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_runs_in_two_gigabytes_and_answers_every_question(path, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")  # many cores would take memory that Binder's few do not
    notebook, peak = run_limited(path, BINDER - SERVER)
    assert peak < BINDER - SERVER
    asked = [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and re.match("%%?phi(_fix|_sweep|_map)?\\b", cell.source)
    ]
    assert len(answers(notebook)) == len(asked)
    assert all(answers(notebook))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_is_saved_as_it_ran(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert answers(notebook)
    assert not [kind for output in outputs(notebook) for kind in output.get("data", {}) if kind == "application/json"]
    meant = "raises-exception"
    cells = [cell for cell in notebook.cells if meant not in cell.metadata.get("tags", ())]
    assert not [output for cell in cells for output in cell.get("outputs", ()) if output.output_type == "error"]


def test_the_quickstart_gives_the_same_texts_again():
    quickstart = next(path for path in EXAMPLES if path.stem == "quickstart")
    seeded = [answers(run_notebook(quickstart)) for _ in range(2)]
    assert seeded[0] == seeded[1]


def test_the_list_of_models_has_every_short_name():
    listed = "\n".join(output.data["text/plain"] for output in outputs(saved("models")) if "data" in output)
    for name in KNOWN:
        assert re.search(rf"^{re.escape(name)} ", listed, re.MULTILINE), name


def test_the_formats_that_the_start_page_names_are_used():
    named = next(cell.source for cell in saved("start").cells if "](formats.ipynb)" in cell.source)
    line = next(line for line in named.splitlines() if "](formats.ipynb)" in line)
    promised = {"code": "code", "formulas": "math", "JSON": "json", "shaded tokens": "tokens"}
    assert set(line.partition("): ")[2].split(", ")) == set(promised)
    cells = "\n".join(cell.source for cell in saved("formats").cells if cell.cell_type == "code")
    for form in promised.values():
        assert re.search(rf'-f {form}\b|"{form}"', cells), form


def test_the_page_for_a_class_opens_with_both_settings_and_its_figures_are_those_of_the_text():
    page = saved("why-1.5-frays")
    first = next(cell for cell in page.cells if cell.cell_type == "code" and "%load_ext" not in cell.source)
    assert first.source.startswith("%phi_explore --compare ")
    shown = next(output.data["text/plain"] for output in first.outputs if output.data.get("text/plain"))
    without, with_top_p = re.findall(r"^3,828 others +4\.1 % +15 % +(\S+) %", shown, re.MULTILINE)
    assert float(without) > 2 * float(with_top_p)
    assert "14 tokens; cut: 3,826 by top-p" in shown


def test_the_table_is_interrupted_goes_on_and_comes_from_the_cache():
    """What it says beside what its own cells assert: the texts on a Dask cluster, and which answers were kept."""
    table = next(path for path in EXAMPLES if path.stem == "table")
    *_, interrupted, resumed, again = answers(run_notebook(table))
    finished = re.match(r"interrupted after (\d+) of 240 rows", interrupted)
    reused = re.match(r"240 rows · [\d,]+ tokens · 0 failed · (\d+) from the cache", resumed)
    assert 20 <= int(finished[1]) <= int(reused[1]) < 240
    assert re.match(r"240 rows · [\d,]+ tokens · 0 failed · 240 from the cache", again)
