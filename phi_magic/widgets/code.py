"""The code of a cell, to be copied.

A front end inserts a cell only where a running cell asks for it (the payload ``set_next_input`` of ``execute_reply``):
a button of a widget cannot, in JupyterLab 4 and Notebook 7. So the cell is copied, and pasted by its reader.
"""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets


class Code(anywidget.AnyWidget):
    """Shows ``text`` with a button that copies it, and a switch for every setting to be said."""

    _esm = (Path(__file__).parent / "code.js").read_text("utf-8")
    _css = (Path(__file__).parent / "code.css").read_text("utf-8")
    text = traitlets.Unicode().tag(sync=True)
    everything = traitlets.Bool(False, help="Whether settings at their defaults are said too.").tag(sync=True)
