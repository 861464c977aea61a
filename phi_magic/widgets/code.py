"""The code of a cell, to be copied, or inserted where the page is a notebook."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from ..rendering.inserting import COMMAND, arguments
from .front_end import front_end


class Code(anywidget.AnyWidget):
    """Shows ``text`` with buttons that copy and insert it, and a switch for every setting to be said."""

    _esm = front_end("make.js", "code.js")
    _css = front_end("code.css")
    text = traitlets.Unicode().tag(sync=True)
    command = traitlets.Unicode(COMMAND).tag(sync=True)
    arguments = traitlets.Unicode(help="What the command takes to insert the text.").tag(sync=True)
    everything = traitlets.Bool(False, help="Whether settings at their defaults are said too.").tag(sync=True)

    @traitlets.observe("text")
    def _say_what_inserts_it(self, change: Any) -> None:
        self.arguments = arguments(change.new)
