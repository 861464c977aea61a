"""The example notebooks as pages of the documentation, with the outputs that they were saved with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_WIDGET = "application/vnd.jupyter.widget-view+json"


def copy(examples: Path, folder: Path) -> None:
    """Copy all notebooks into the folder of the pages, with links that lead from there to other pages.

    A widget needs a kernel, so each output keeps the HTML that was saved beside it.
    """
    folder.mkdir(exist_ok=True)
    for old in {path.name for path in folder.glob("*.ipynb")} - {path.name for path in examples.glob("*.ipynb")}:
        (folder / old).unlink()
    for path in sorted(examples.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = [output for output in cell.outputs if _without_widget(output)]
            else:
                cell.source = cell.source.replace("](../docs/", "](../")
        text = nbformat.writes(notebook)
        target = folder / path.name
        if not target.exists() or target.read_text(encoding="utf-8") != text:  # an unchanged page is not built again
            target.write_text(text, encoding="utf-8")


def _without_widget(output: Any) -> bool:
    """Remove an output's widget; False where nothing else is left."""
    if "data" not in output:
        return True
    output.data.pop(_WIDGET, None)
    return bool(output.data)


def link(app: Sphinx, page: str, source: list[str]) -> None:
    """Let links to ``../examples/``, which work on GitHub, lead to the copies; a listener of ``source-read``."""
    source[0] = source[0].replace("](../examples/", "](examples/")
