"""Show a widget, and beside it the state that a saved notebook shows without a kernel.

A notebook file holds only a widget's address in a kernel. So its last state is a second output, as HTML without a
script and as text; it is hidden while the widget is on the page.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from IPython.display import display, update_display

from . import cells

_VIEW = "application/vnd.jupyter.widget-view+json"

# JupyterLab says "Error displaying widget" where a saved notebook's widget was: the state below says it better. The style
# is linked, for a page made of Markdown may show a style block as text.
_STYLE = """
.jp-OutputArea-child:has(+ .jp-OutputArea-child .phi-saved-{id}) > .jp-OutputArea-output:not(:has(*)),
.jp-OutputArea-child:has(.phi-saved-{id}) + .jp-OutputArea-child > .jp-OutputArea-output:not(:has(*)) {{ display: none; }}
"""


class Saved:
    """Shows a widget and keeps its state beside it.

    Args:
        widget: any widget of ipywidgets.
        state: makes the state's ``text/html`` and ``text/plain`` when it is called.
        close: takes the widget away; called when the cell that shows it is run again. It may have been closed before.
    """

    def __init__(self, widget: Any, state: Callable[[], dict[str, str]], close: Callable[[], None]) -> None:
        self._widget = widget
        self._state = state
        self._close = close
        self._name = widget.model_id  # a closed widget has none
        self._handle: str | None = None
        self._metadata: dict[str, Any] = {}
        widget.add_class(f"phi-live-{self._name}")  # labels.js hides the state while this is on the page

    def show(self) -> None:
        self._show_widget()
        self._handle = display(self._bundle(), raw=True, display_id=True).display_id

    def show_beside(self, handle: str, metadata: dict[str, Any]) -> None:
        """Show the widget next to an output that is there already and becomes what is kept of it."""
        self._handle, self._metadata = handle, metadata
        self.update()
        self._show_widget()

    def update(self) -> None:
        """Keep the state as it is now; from any thread."""
        if self._handle:
            update_display(self._bundle(), metadata=self._metadata, raw=True, display_id=self._handle)

    def closed(self) -> None:
        """Note that the widget was taken away."""
        cells.drop(self._close)

    def _show_widget(self) -> None:
        cells.keep(self._close)
        view = {"model_id": self._name, "version_major": 2, "version_minor": 0}
        # The empty text is for exports that know no widgets: nbconvert 7 warns of an output that it cannot show.
        display({_VIEW: view, "text/plain": ""}, raw=True)

    def _bundle(self) -> dict[str, str]:
        bundle, name = self._state(), self._name
        style = f'<link rel="stylesheet" href="data:text/css,{quote(_STYLE.format(id=name))}">'
        return {**bundle, "text/html": f'<div class="phi-saved-{name}">{style}{bundle["text/html"]}</div>'}
