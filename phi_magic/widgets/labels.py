"""Add what screen readers and the keyboard need and ipywidgets leaves out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anywidget
import traitlets

from .front_end import front_end


class Labels(anywidget.AnyWidget):
    """An invisible widget that sets the names, the keys and the focus of its box.

    Args:
        on_enter: called when somebody presses Ctrl+Enter within the box; without it a notebook runs the cell.
        hints: of fields by their labels; ipywidgets 8.1 shows the tooltip of some kinds of fields alone.
    """

    _esm = front_end("labels.js")
    enters = traitlets.Bool().tag(sync=True)
    hints: Any = traitlets.Dict().tag(sync=True)

    def __init__(self, on_enter: Callable[[], None] | None = None, hints: Mapping[str, str] | None = None) -> None:
        super().__init__(layout={"display": "none"}, enters=on_enter is not None, hints=dict(hints or {}))
        if on_enter:
            self.on_msg(lambda widget, content, buffers: on_enter())
