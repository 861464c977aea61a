"""Decide when a request to the hub is repeated, and how long to wait before."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 3  # repetitions without a new byte, after 1, 2 and 4 seconds
LONGEST_WAIT = 30  # seconds; for a longer Retry-After the user is told instead
PASSING = {408, 429, 500, 502, 503, 504}  # statuses worth another try


def patiently(
    hub: Any,
    notify: Callable[[str], None],
    attempt: Callable[[], Any],
    *,
    broken: tuple[type[Exception], ...] = (),
    progress: Callable[[], int] = lambda: 0,
) -> Any:
    """Return what ``attempt`` returns, and make it again while the hub is busy or the connection breaks.

    Args:
        hub: the module huggingface_hub.
        notify: told in a line what went wrong, and when the next attempt follows.
        attempt: makes the request.
        broken: the errors of a connection that broke.
        progress: how many bytes have come; attempts that bring some are not counted.
    """
    tries, before = 0, progress()
    while True:
        try:
            return attempt()
        except (hub.errors.HfHubHTTPError, *broken) as error:
            if progress() > before:
                tries, before = 0, progress()
            response = getattr(error, "response", None)
            asked = response.headers.get("Retry-After", "") if response is not None else ""
            wait = int(asked) if asked.isdecimal() else 2**tries
            passing = response is None or response.status_code in PASSING
            if not passing or tries >= PATIENCE or wait > LONGEST_WAIT:
                raise
            what = "the connection broke" if response is None else f"the hub answers {response.status_code}"
            notify(f"{what}; trying again in {wait} s")
        tries += 1
        time.sleep(wait)
