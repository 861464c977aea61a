"""Names for screen readers, where ipywidgets gives none."""

from __future__ import annotations

from pathlib import Path

import anywidget


class Labels(anywidget.AnyWidget):
    """Unseen; names the controls of the box that it is put into."""

    _esm = Path(__file__).parent / "labels.js"

    def __init__(self) -> None:
        super().__init__(layout={"display": "none"})
