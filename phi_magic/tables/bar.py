"""A map under a progress bar, in a terminal or, as a widget, in a notebook."""

from __future__ import annotations

from collections.abc import Iterable

from ..generation.stream import StreamAll
from ..rendering.redraw import Pace
from .progress import Progress

_FORM = "{percentage:3.0f}%|{bar}| {desc}"
_INTERVAL = 0.1  # seconds between two redraws


def run(stream: StreamAll, *, shown: bool | None = True) -> None:
    """Answer all questions of a stream.

    Args:
        stream: the questions, at least one.
        shown: whether there is a bar; None: where standard error is a terminal.

    Raises:
        PhiError: questions cannot be asked.
        KeyboardInterrupt: Ctrl-C.
    """
    replies = stream.replies
    progress = Progress.of(replies)
    with stream.in_order():
        follow(progress.following(stream, replies), progress, shown=shown)


def follow(steps: Iterable[int], progress: Progress, *, shown: bool | None = True) -> None:
    """Go through the steps of a map, and show its progress after each."""
    from tqdm.auto import tqdm

    disable = None if shown is None else not shown
    with tqdm(total=1.0, bar_format=_FORM, disable=disable, mininterval=0, miniters=0) as bar:
        pace = Pace(_INTERVAL)
        for _ in steps:
            if pace.due or progress.done == progress.count:
                with pace.drawing():
                    bar.set_description_str(progress.line(), refresh=False)
                    bar.update(progress.fraction - bar.n)
