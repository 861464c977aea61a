"""Limit the time and memory of work that a model's file or a user's text could make endless.

A chat template is a program from elsewhere, and llama.cpp's tokenizer takes hours for some texts. In the worker process
the system can limit both: the address space is limited during the work, and the process is ended when the time is up.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ..errors import PhiError

SECONDS = 10.0
_LATER = 1.0  # seconds more until the system ends the process, where a computation in C lets no other thread run
MEMORY = 2 * 2**30  # bytes beyond those in use


@contextmanager
def bounded(what: str, give_up: Callable[[str], None]) -> Iterator[None]:
    """Limit a piece of work on the main thread of a process.

    Args:
        what: names it in the message.
        give_up: called with the message on a separate thread when the time is up; it must end the process, since
            nothing else stops the work. Where it cannot be called in time, ``SIGALRM`` ends the process.

    Raises:
        PhiError: it took more memory than it may.
    """
    ending, over = threading.Lock(), threading.Event()

    def late() -> None:
        with ending:  # work that ends at this moment waits here: the process must not begin with anything else
            if not over.is_set():
                give_up(f"{what} did not come to an end in {SECONDS:g} s")

    alarm = threading.Timer(SECONDS, late)
    alarm.daemon = True
    with suppress(RuntimeError):  # the system has no thread to spare: SIGALRM alone ends the process then
        alarm.start()
    signal.setitimer(signal.ITIMER_REAL, SECONDS + _LATER)
    try:
        with _less_memory():
            yield
    except MemoryError:
        raise PhiError(f"{what} takes more memory than it may") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        alarm.cancel()
        with ending:
            over.set()


@contextmanager
def _less_memory() -> Iterator[None]:
    """Lower the limit of the address space for a while, where the system has one."""
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 (often, and short)
            held = int(file.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):  # Windows; macOS
        yield
        return
    before, most = resource.getrlimit(resource.RLIMIT_AS)
    limits = [held + MEMORY, *(limit for limit in (before, most) if limit != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, most))
