"""Work beside the caller."""

import asyncio
import threading

import pytest

from phi_magic.interrupt import Interrupted, Stop
from phi_magic.remote.background import call, drive


def test_what_was_emitted_before_the_stop_is_yielded():
    stop, emitted = Stop(), threading.Event()

    async def work(emit):
        for number in range(5):
            emit(number)
        emitted.set()
        await asyncio.sleep(60)

    items = drive(work, stop)
    seen = [next(items)]
    assert emitted.wait(5)
    stop.set()
    with pytest.raises(Interrupted):
        seen.extend(items)
    assert seen == [0, 1, 2, 3, 4]


def test_a_stop_cancels_what_waits():
    stop, cancelled = Stop(), threading.Event()

    async def work(emit):
        emit("begun")
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    items = drive(work, stop)
    assert next(items) == "begun"
    stop.set()
    with pytest.raises(Interrupted):
        next(items)
    assert cancelled.wait(5)


def test_an_error_is_raised_in_the_caller_s_thread():
    async def work():
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        call(work, Stop())
