"""The parts that the widgets share: names and hints made from traits, buttons, the status line."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import ipywidgets

from ..rendering import to_text
from ..settings import takes

#: The layout of what has a label and fills its line.
FULL: dict[str, Any] = {"layout": {"width": "auto", "min_width": "0"}, "style": {"description_width": "8.5em"}}
ROW: dict[str, Any] = {"layout": {"flex_flow": "row wrap"}}


def tooltip(trait: Any) -> str:
    return f"{trait.help} Takes {takes(trait)}."


def button(text: str, icon: str, hint: str, act: Callable[[], None], **options: Any) -> Any:
    """Make a button that calls ``act``; ``options`` are those of ``ipywidgets.Button``."""
    made = ipywidgets.Button(description=text, icon=icon, tooltip=hint, layout={"width": "auto"}, **options)
    made.on_click(lambda _: act())
    return made


class StatusLine:
    """The status line; a screen reader reads it out when it changes."""

    def __init__(self) -> None:
        self.widget = ipywidgets.HTML()

    def say(self, text: str) -> None:
        self.widget.value = f'<span role="status">{html.escape(to_text(text))}</span>'

    def fail(self, text: str) -> None:
        self.widget.value = f'<b role="alert">{html.escape(to_text(text))}</b>'


def close(widget: Any) -> None:
    """Close a widget with all that is in it; nothing of it stays in the registry of widgets."""
    for child in getattr(widget, "children", ()):
        close(child)
    for part in ("style", "layout"):
        if hasattr(widget, part):
            getattr(widget, part).close()
    widget.close()
