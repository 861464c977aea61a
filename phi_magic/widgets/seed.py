"""The seed's control: a field, a lock that keeps the seed, and a button that draws another."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import ipywidgets

from ..errors import PhiError
from ..phi import Phi
from ..settings import SEED_MAX, checked
from .controls import FULL, ROW, button, tooltip


class SeedControl:
    """Linked with ``Phi.seed`` both ways. Unlocked, the trait is unset and the field shows what the last answer drew.

    Args:
        on_refused: told in one line when the trait does not take what was typed.
    """

    def __init__(self, phi: Phi, *, on_refused: Callable[[str], None] = lambda _: None) -> None:
        self._phi = phi
        self._on_refused = on_refused
        self._setting = False
        self.field = ipywidgets.IntText(
            description="seed",
            tooltip=tooltip(phi.traits()["seed"]),
            layout={"flex": "1 1 16em", "width": "auto", "min_width": "0"},
            style=FULL["style"],
        )
        self.lock = ipywidgets.ToggleButton(
            description="Lock",
            icon="lock",
            tooltip="Keep this seed; unlocked, each answer draws a seed",
            layout={"width": "auto"},
        )
        self.die = button("Roll", "random", "Draw a new seed and keep it", self.roll)
        self.widget = ipywidgets.Box([self.field, self.lock, self.die], **ROW)
        self._from_trait({"new": phi.seed})
        phi.observe(self._from_trait, "seed")
        self.field.observe(self._from_field, "value")
        self.lock.observe(self._from_lock, "value")

    def roll(self) -> None:
        self._phi.seed = secrets.randbelow(SEED_MAX + 1)

    def show(self, seed: int) -> None:
        """Show the seed that an answer drew, without keeping it."""
        if self._phi.seed is None:
            self._set(seed, locked=False)

    def close(self) -> None:
        """Leave no observer behind."""
        self._phi.unobserve(self._from_trait, "seed")

    def _set(self, seed: int, *, locked: bool) -> None:
        self._setting = True
        try:
            self.field.value, self.lock.value = seed, locked
        finally:
            self._setting = False

    def _from_trait(self, change: Any) -> None:
        seed = change["new"]
        self._set(self.field.value if seed is None else seed, locked=seed is not None)

    def _from_field(self, change: Any) -> None:
        if self._setting:
            return
        try:
            self._phi.seed = checked(self._phi.traits()["seed"], change["new"])
        except PhiError as error:
            self._set(change["old"], locked=self._phi.seed is not None)
            self._on_refused(str(error))

    def _from_lock(self, change: Any) -> None:
        if not self._setting:
            self._phi.seed = self.field.value if change["new"] else None
