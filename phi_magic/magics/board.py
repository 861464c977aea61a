"""An output that is redrawn in place while its magic works."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.display import display, update_display

from ..rendering.redraw import Clock, Pace

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


class Board:
    """Redraws at most every ``interval`` seconds; a terminal, which cannot take back, shows the last state alone."""

    def __init__(self, shell: InteractiveShell, *, interval: float = 0.1, clock: Clock = time.perf_counter) -> None:
        self._live = hasattr(shell, "kernel")
        self._pace = Pace(interval, clock)
        self._handle: str | None = None

    def draw(self, bundle: Callable[[], dict[str, str]]) -> None:
        """Show what ``bundle`` makes, if it is time."""
        if self._live and self._pace.due:
            with self._pace.drawing():
                self._publish(bundle(), {})

    def finish(self, bundle: dict[str, str], metadata: dict[str, Any] | None = None) -> None:
        """Show the last state."""
        self._publish(bundle, metadata or {})

    def _publish(self, data: dict[str, str], metadata: dict[str, Any]) -> None:
        if self._handle is None:
            self._handle = display(data, metadata=metadata, raw=True, display_id=True).display_id
        else:
            update_display(data, metadata=metadata, raw=True, display_id=self._handle)
