"""What the engine is doing, in the hands of whoever asked: step by step, and ended in good order."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import TypeVar

from ..interrupt import Stop
from ..reply import Reply

Item = TypeVar("Item")


class Running(Iterator[Item]):
    """Something that the engine is doing, step by step, that Ctrl-C and other threads can end in good order.

    A generator that does one step at a time stands behind it. An interrupt sets a flag that the engine looks at; when
    the generator has put things in order and ended, ``KeyboardInterrupt`` is raised.
    """

    def __init__(self, steps: Generator[Item, None, None], stop: Stop) -> None:
        self.stopping = stop
        self._steps = steps

    def __next__(self) -> Item:
        try:
            with self.stopping.holding_interrupts():
                return next(self._steps)
        except StopIteration:
            if self.stopping.by_signal:
                self.stopping.by_signal = False
                raise KeyboardInterrupt from None
            raise

    @contextmanager
    def in_order(self) -> Iterator[None]:
        """Around a loop over this: it leaves the engine to others however it ends, wherever an interrupt finds it."""
        with self.stopping.deferring_interrupts(), closing(self):
            yield

    def run(self) -> None:
        """Go on to the end."""
        with self.in_order():
            for _ in self:
                pass

    def stop(self) -> None:
        """End here, from any thread; ``finish_reason`` becomes ``interrupted``."""
        self.stopping.set()

    def close(self) -> None:
        """Give the model back to whoever waits for it, though this is not at its end."""
        self._steps.close()


class Stream(Running[str]):
    """An answer while it is written: iterate over it for the pieces of its text.

    ``reply`` grows as it goes, and is whole when the iteration ends.
    """

    def __init__(self, reply: Reply, pieces: Generator[str, None, None], stop: Stop) -> None:
        super().__init__(pieces, stop)
        self.reply = reply


class StreamAll(Running[int]):
    """Answers while they are written: iterate over it for the numbers of those whose text has grown."""

    def __init__(self, replies: list[Reply], numbers: Generator[int, None, None], stop: Stop) -> None:
        super().__init__(numbers, stop)
        self.replies = replies
