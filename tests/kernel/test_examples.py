"""The examples run from top to bottom, and are saved with what they answered."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

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
    return [
        output.data["text/plain"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "phi_magic" in output.get("metadata", {})
    ]


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
    meant = "raises-exception"
    cells = [cell for cell in notebook.cells if meant not in cell.metadata.get("tags", ())]
    assert not [output for cell in cells for output in cell.get("outputs", ()) if output.output_type == "error"]


def test_the_quickstart_gives_the_same_texts_again():
    quickstart = next(path for path in EXAMPLES if path.stem == "quickstart")
    seeded = [answers(run_notebook(quickstart)) for _ in range(2)]
    assert seeded[0] == seeded[1]
