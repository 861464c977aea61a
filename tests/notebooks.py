"""Notebooks made of cells, and run whole in a real kernel."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

TIMEOUT = 120  # Seconds; a bound on hanging, not on speed.


def notebook_of(*cells):
    """A notebook of code cells."""
    kernelspec = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata={"kernelspec": kernelspec}
    )


def run_notebook(notebook, **options):
    """Run a notebook, or the one at a path, in a kernel of its own, and return it with its outputs."""
    if isinstance(notebook, Path):
        notebook = nbformat.read(notebook, as_version=4)
    return NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3", **options).execute()
