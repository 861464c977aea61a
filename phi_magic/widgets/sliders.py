"""Sliders over traits, which set a trait only when a person moves one, and to exactly what that person chose.

``traitlets.link`` between a trait and an ``ipywidgets.FloatSlider`` cannot promise that, nor can a link of our own: the
slider's view rounds every value it is given to its step, cuts it to its range, and sends the result back as if somebody
had moved it (ipywidgets 8.1). So these sliders keep the two directions apart: ``values`` goes to the page alone, and
``moved`` comes from the page alone, when a person drags a slider or types a number. Where a widget shows a value as it
is, as a text field does, ``traitlets.link`` is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import anywidget
import traitlets

from ..errors import PhiError
from ..settings import checked, label
from .controls import tooltip
from .front_end import front_end


class Sliders(anywidget.AnyWidget):
    """A slider and a field for each named trait of ``owner``.

    A slider covers the range ``shown_min`` to ``shown_max`` of the trait's metadata, in its ``step``. A typed value may
    lie outside of that range, and between two steps.

    Args:
        owner: whose traits these are.
        names: of numeric traits that have a ``step`` in their metadata.
        on_refused: told in one line when a trait does not take what was typed.
    """

    _esm = front_end("make.js", "sliders.js")
    _css = front_end("sliders.css")
    rows: Any = traitlets.List().tag(sync=True)
    values: Any = traitlets.Dict(help="The traits' values, by name.").tag(sync=True)
    moved: Any = traitlets.Dict(
        help="For each name the last value that a person chose, with the number of the move."
    ).tag(sync=True)
    heard: Any = traitlets.Dict(help="For each name the number of the last move that was handled.").tag(sync=True)

    def __init__(
        self, owner: traitlets.HasTraits, names: Sequence[str], *, on_refused: Callable[[str], None] = lambda _: None
    ) -> None:
        self._owner = owner
        self._names = tuple(names)
        self._on_refused = on_refused
        super().__init__(rows=[_row(owner, name) for name in names], values=self._present())
        owner.observe(self._show, self._names)

    def move(self, name: str, value: Any) -> None:
        """Set a trait as a person does who types ``value``."""
        trait = self._owner.traits()[name]
        try:
            setattr(self._owner, name, checked(trait, value, self._owner))
        except PhiError as error:
            self._on_refused(f"{label(name)}{str(error).removeprefix(name)}")

    def close(self) -> None:
        if self.comm is not None:  # ipywidgets calls it once more when the widget is deleted
            self._owner.unobserve(self._show, self._names)
        super().close()

    @traitlets.observe("moved")
    def _hear(self, change: Any) -> None:
        for name, move in change["new"].items():
            if name in self._names and move != self.heard.get(name):
                self.move(name, move["value"])
        self.heard = change["new"]

    def _show(self, change: Any) -> None:
        self.values = self._present()

    def _present(self) -> dict[str, Any]:
        return {name: getattr(self._owner, name) for name in self._names}


def _row(owner: traitlets.HasTraits, name: str) -> dict[str, Any]:
    trait: Any = owner.traits()[name]
    return {
        "name": name,
        "label": label(name),
        "help": tooltip(trait),
        "min": trait.metadata.get("shown_min", trait.min),
        "max": trait.metadata.get("shown_max", trait.max),
        "step": trait.metadata["step"],
    }
