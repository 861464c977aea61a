"""An output that is redrawn in place while its magic works."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.display import display, update_display

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

Clock = Callable[[], float]
#: A redraw may cost at most one part in this many of the time between redraws.
_REDRAW_SHARE = 60


class Board:
    """Redraws at most every ``interval`` seconds; a terminal, which cannot take back, shows the last state alone."""

    def __init__(self, shell: InteractiveShell, *, interval: float = 0.1, clock: Clock = time.perf_counter) -> None:
        self._live = hasattr(shell, "kernel")
        self._interval = interval
        self._clock = clock
        self._next = float("-inf")
        self._handle: str | None = None

    def draw(self, bundle: Callable[[], dict[str, str]]) -> None:
        """Show what ``bundle`` makes, if it is time."""
        if not self._live or (started := self._clock()) < self._next:
            return
        self._publish(bundle(), {})
        ended = self._clock()
        self._next = ended + max(self._interval, _REDRAW_SHARE * (ended - started))

    def finish(self, bundle: dict[str, str], metadata: dict[str, Any] | None = None) -> None:
        """Show the last state."""
        self._publish(bundle, metadata or {})

    def _publish(self, data: dict[str, str], metadata: dict[str, Any]) -> None:
        if self._handle is None:
            self._handle = display(data, metadata=metadata, raw=True, display_id=True).display_id
        else:
            update_display(data, metadata=metadata, raw=True, display_id=self._handle)
