"""Close the widgets of a cell's earlier run when the cell is run again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from ..running_cell import asking

#: For each cell the number of its run, and a function for each widget of that run that closes it.
_shown: dict[str, tuple[str, list[Callable[[], None]]]] = {}


def keep(close: Callable[[], None]) -> None:
    """Have a widget that the running cell shows closed when that cell is run again, or with :func:`close_all`."""
    cell, run = _running()
    if cell in _shown and _shown[cell][0] != run:
        _close(cell)
    _shown.setdefault(cell, (run, []))[1].append(close)


def drop(close: Callable[[], None]) -> None:
    """Forget a widget that is closed, so that nothing of it stays in memory."""
    for cell, (run, closers) in list(_shown.items()):
        left = [other for other in closers if other != close]
        if left:
            _shown[cell] = run, left
        else:
            del _shown[cell]


def close_all() -> None:
    """Close the widgets of every cell."""
    with ExitStack() as closing:  # closes all, also where one raises
        for cell in list(_shown):
            closing.callback(_close, cell)


def _close(cell: str) -> None:
    with ExitStack() as closing:
        for close in _shown.pop(cell, ("", []))[1]:
            closing.callback(close)


def _running() -> tuple[str, str]:
    """The cell that runs and which run of it this is; where a front end names no cells, each run counts as another cell."""
    from IPython.core.getipython import get_ipython

    found = asking(get_ipython())
    run = found["run"] or ""
    return found["cell"] or run, run
