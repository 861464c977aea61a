"""Threads for llama.cpp to compute on, asked for beforehand: where the system grants none, OpenMP ends the process."""

from __future__ import annotations

import threading

from ..errors import PhiError

_granted = threading.local()  # OpenMP keeps a team of its own for each thread that calls it


def check_threads(count: int) -> None:
    """Whether this thread can have a team of ``count``, itself included.

    Raises:
        PhiError: it cannot, by a limit on memory or on processes.
    """
    if count <= getattr(_granted, "count", 1):
        return
    done = threading.Event()
    team = [threading.Thread(target=done.wait, name="phi_magic-team", daemon=True) for _ in range(count - 1)]
    try:
        for thread in team:
            thread.start()
    except (RuntimeError, MemoryError):
        raise PhiError(f"the system grants this process no {count} threads: set n_threads=1") from None
    finally:
        done.set()
        for thread in team:
            if thread.ident:
                thread.join()
    _granted.count = count
