"""Offer the code that an answer proposes for a cell; it is never run, nor put into a notebook unasked.

A kernel can only add a cell with the reply to an ``execute_request``. It cannot see the cells that are there, so each
run would add one more, and Run All would run those of earlier runs. So a button inserts the cell
(:mod:`phi_magic.rendering.inserting`).
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from IPython.display import display

from ..rendering.inserting import COMMAND, arguments
from ..running_cell import asking

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_SAID = "The code is a proposal: it was not run."
#: A cell's id as a notebook file has it. Other front ends, VS Code for one, send an address instead.
_NOTEBOOK_ID = re.compile(r"[\w-]{1,64}", re.ASCII)


def propose(shell: InteractiveShell, code: str) -> None:
    """Offer ``code``: by a button in a notebook, as the next input at a console's prompt."""
    cell = asking(shell)["cell"]
    if cell is None:
        shell.set_next_input(code)
    else:
        button = f" {insert_button(code)}" if _NOTEBOOK_ID.fullmatch(cell) else ""
        display({"text/html": f"<div><small>{_SAID}</small>{button}</div>", "text/plain": _SAID}, raw=True)


def insert_button(code: str) -> str:
    """HTML of a button that puts ``code`` into a new cell below, in JupyterLab and Notebook 7."""
    return (
        f'<button class="jp-mod-styled jp-mod-minimal" data-commandlinker-command="{COMMAND}" '
        f'data-commandlinker-args="{html.escape(arguments(code))}">Insert as a cell below</button>'
    )
