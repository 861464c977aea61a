"""Run a notebook in a real kernel, print what its cells answer, and leave the file as it is.

python tools/run_notebook.py NOTEBOOK [--save]     --save writes the outputs into the notebook instead
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


def text_of(output: nbformat.NotebookNode) -> str:
    if output.output_type == "stream":
        return str(output.text)
    if output.output_type == "error":
        return f"{output.ename}: {output.evalue}"
    return str(output.data.get("text/plain", ""))


def show_input(cell: nbformat.NotebookNode, **_: object) -> None:
    if cell.cell_type == "code":
        print("\n" + "\n".join(f"  In: {line}" for line in cell.source.splitlines()), flush=True)


def show_outputs(cell: nbformat.NotebookNode, **_: object) -> None:
    if cell.cell_type == "code":
        print("".join(f"{text_of(output).rstrip()}\n" for output in cell.outputs), end="", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()

    notebook = nbformat.read(options.notebook, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=600,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            extra_arguments=["--log-level=ERROR"],
            # Times of execution would change the saved file at every run.
            record_timing=False,
            # What a widget showed stands beside it as HTML; its state would bring every slider's layout into the file.
            store_widget_state=False,
            coalesce_streams=True,  # text that came in pieces is saved as one
            on_cell_execute=show_input,
            on_cell_executed=show_outputs,
        )
        try:
            client.execute()
        except CellExecutionError as error:
            sys.exit(f"error: {options.notebook} failed: {error.ename}: {error.evalue}")
    if options.save:
        nbformat.write(notebook, options.notebook)


if __name__ == "__main__":
    main()
