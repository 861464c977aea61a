"""Widgets made from traits, and linked with them both ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets
from traitlets import HasTraits, Int

from ..settings import takes

#: The layout of what has a label and fills its line, or its column of a grid.
FULL: dict[str, Any] = {"layout": {"width": "auto", "min_width": "0"}, "style": {"description_width": "8.5em"}}


def slider(owner: HasTraits, name: str) -> Any:
    """A slider over a trait's range, ``shown_min`` to ``shown_max`` where it has these, in its ``step``."""
    trait: Any = owner.traits()[name]
    kind = ipywidgets.IntSlider if isinstance(trait, Int) else ipywidgets.FloatSlider
    low = trait.metadata.get("shown_min", trait.min)
    high = trait.metadata.get("shown_max", trait.max)
    value = getattr(owner, name)
    return kind(
        value=value,
        min=min(low, value),
        max=max(high, value),
        step=trait.metadata["step"],
        description=label(name),
        tooltip=tooltip(trait),
        **FULL,
    )


def label(name: str) -> str:
    """A trait's name as one reads it, but for those that have a hyphen of their own."""
    return name.replace("_", "-" if name in ("top_p", "top_k", "min_p") else " ")


def tooltip(trait: Any) -> str:
    return f"{trait.help} Takes {takes(trait)}."


class Link:
    """Keeps a trait and a widget's ``value`` the same, whichever is changed, until :meth:`close`.

    Args:
        to_widget: makes the trait's value the widget's; ``to_trait`` the other way.
    """

    def __init__(
        self,
        owner: HasTraits,
        name: str,
        widget: Any,
        *,
        to_widget: Callable[[Any], Any] = lambda value: value,
        to_trait: Callable[[Any], Any] = lambda value: value,
    ) -> None:
        self._owner, self._name, self._widget = owner, name, widget
        self._to_widget, self._to_trait = to_widget, to_trait
        self._setting = False
        self._from_trait({"new": getattr(owner, name)})
        owner.observe(self._from_trait, name)
        widget.observe(self._from_widget, "value")

    def close(self) -> None:
        self._owner.unobserve(self._from_trait, self._name)
        self._widget.unobserve(self._from_widget, "value")

    def _from_trait(self, change: Any) -> None:
        if self._setting:
            return
        value = self._to_widget(change["new"])
        self._setting = True
        try:
            # A slider shows the usual range; a value beyond it is shown all the same.
            if hasattr(self._widget, "min"):
                self._widget.min = min(self._widget.min, value)
                self._widget.max = max(self._widget.max, value)
            self._widget.value = value
        finally:
            self._setting = False

    def _from_widget(self, change: Any) -> None:
        if self._setting:
            return
        value = self._to_trait(change["new"])
        self._setting = True
        try:
            setattr(self._owner, self._name, round(value, 6) if isinstance(value, float) else value)
        finally:
            self._setting = False


def close(widget: Any) -> None:
    """Close a widget with all that is in it; nothing of it stays in the registry of widgets."""
    for child in getattr(widget, "children", ()):
        close(child)
    for part in ("style", "layout"):
        if hasattr(widget, part):
            getattr(widget, part).close()
    widget.close()
