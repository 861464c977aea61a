"""Run what waits for a server beside the caller, so that the caller can always end it.

A read that waits in the caller's own thread could be ended neither by Ctrl-C, which is held back until things are in
order, nor by a button. A coroutine can: it is cancelled wherever it waits, and its connections are closed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from ..interrupt import Stop

Item = TypeVar("Item")
_GLANCE = 0.05  # seconds between two looks at the stop


@dataclass(frozen=True)
class _End:
    error: BaseException | None


def drive(work: Callable[[Callable[[Item], None]], Coroutine[Any, Any, None]], stop: Stop) -> Iterator[Item]:
    """Run a coroutine in an event loop of its own thread, and yield what it emits, in order.

    The thread lives as long as the call: nothing is shared between calls, nor with a forked child.

    Args:
        work: makes the coroutine; it is given what emits an item.
        stop: cancels the coroutine.

    What was emitted before the stop is yielded all the same.

    Raises:
        Interrupted: ``stop`` was set before the coroutine ended; and whatever the coroutine raises.
    """
    stop.check()
    items: SimpleQueue[Item | _End] = SimpleQueue()
    loop = asyncio.new_event_loop()
    task = loop.create_task(work(items.put))

    def run() -> None:
        error: BaseException | None = None
        try:
            loop.run_until_complete(task)
            loop.run_until_complete(loop.shutdown_asyncgens())
        except BaseException as raised:  # noqa: BLE001 (it is raised in the caller's thread)
            error = raised
        finally:
            items.put(_End(error))
            loop.close()

    threading.Thread(target=run, name="phi_magic server", daemon=True).start()

    def cancel() -> None:
        with suppress(RuntimeError):  # it ended at this moment, and the loop is closed
            loop.call_soon_threadsafe(task.cancel)

    ended = stopped = False
    try:
        while not ended:
            if not stopped and stop.requested:
                stopped = True
                cancel()
            try:
                item = items.get(timeout=0 if stopped else _GLANCE)
            except Empty:
                stop.check()
                continue
            if isinstance(item, _End):
                ended = True
                if item.error:
                    stop.check()
                    raise item.error
            else:
                yield item
    finally:
        if not ended:
            cancel()


def call(work: Callable[[], Coroutine[Any, Any, Item]], stop: Stop) -> Item:
    """Run a coroutine as :func:`drive` does, and return its result."""

    async def emit(put: Callable[[Item], None]) -> None:
        put(await work())

    [result] = drive(emit, stop)
    return result
