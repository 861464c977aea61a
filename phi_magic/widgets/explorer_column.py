"""One answer in the explorer: its sliders, the bars of its next token, and the curve over all tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import ipywidgets

from ..interrupt import Stop
from ..rendering import escape, to_text
from ..settings import label
from ..walk import PARAMETERS, Walk
from . import bars, curve
from .sliders import Sliders


class ExplorerColumn:
    """One walk with its sliders, its bars and its curve."""

    def __init__(self, walk: Walk, title: str, *, on_refused: Callable[[str], None]) -> None:
        self.walk = walk
        self.title = title
        self.ended = ""  #: the token that ended the answer where the walk stands
        self.sliders = Sliders(walk.settings, PARAMETERS, on_refused=on_refused)
        self.bars = bars.Bars(layout={"flex": "3 1 30em", "min_width": "0"})
        self.curve = curve.Curve(layout={"flex": "1 1 17em", "min_width": "0"})
        seen = ipywidgets.Box([self.bars, self.curve], layout={"flex_flow": "row wrap", "grid_gap": "8px"})
        heading = [ipywidgets.HTML(f"<b>{escape(title)}</b>")] if title else []
        self.widget = ipywidgets.VBox([*heading, self.sliders, seen], layout={"flex": "1 1 26em", "min_width": "0"})

    def redraw(self) -> None:
        """Draw the bars again from the kept logits; nothing is decoded."""
        self.walk.measure()
        here, seen = self.walk.position, self.walk.stages
        if here is not None and seen is not None:
            self.bars.view = bars.view(here, seen, self.walk.path, self.walk.ahead)
            self.curve.view = curve.view(seen, self.walk.sampling)

    def step(self, choose: Callable[[Walk], int], stop: Stop) -> None:
        """Take the token that ``choose`` names, unless the answer has ended here."""
        here = self.walk.position
        if self.ended or here is None:
            return
        token = choose(self.walk)
        if not self.walk.take(token, stop):
            self.ended = here.names[token]

    def state(self) -> dict[str, str]:
        """What the column shows, for a page without a kernel."""
        walk = self.walk
        parameters = ", ".join(f"{label(name)} {value}" for name, value in asdict(walk.sampling).items())
        here, seen = walk.position, walk.stages
        if here is None or seen is None:
            return {"text/html": f"<p>{escape(parameters)}</p>", "text/plain": to_text(parameters)}
        shown = bars.table(here, seen, walk.ahead)
        says = [f"answer so far: {''.join(token.text for token in walk.path[: walk.at])}", parameters]
        page = "".join(f"<p>{escape(line)}</p>" for line in ([self.title] if self.title else []) + says)
        return {
            "text/html": page + shown["text/html"],
            "text/plain": to_text("\n".join(says)) + "\n\n" + shown["text/plain"],
        }
