"""The commands by which a click puts code into a new cell of a notebook.

JupyterLab and Notebook 7 run their own commands when an element is clicked that names them
(``data-commandlinker-command``): such a button needs no kernel, and works in a saved notebook too.
"""

from __future__ import annotations

import json

#: Runs the commands that its arguments list.
COMMAND = "apputils:run-all-enabled"


def arguments(code: str) -> str:
    """The arguments of :data:`COMMAND`, as JSON, that put ``code`` into a new cell below the active one."""
    commands = ["notebook:insert-cell-below", "notebook:replace-selection"]
    # JupyterLab 4.6 hands all of "args" to each command, even where it is a list of one for each.
    return json.dumps({"commands": commands, "args": {"text": code}})
