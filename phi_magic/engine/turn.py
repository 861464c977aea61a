"""One answer at a time, first come, first served."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from ..errors import PhiError
from ..interrupt import Stop

_LOOK = 0.05  # seconds between looks at the flag while waiting


class Turn:
    """A fair lock that whoever waits for can be told of, and stopped at."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._queue: deque[int] = deque()  # threads; the first one has the turn

    def take(self, *, stop: Stop, on_wait: Callable[[], None] = lambda: None) -> None:
        """Wait for the turn.

        Raises:
            Interrupted: ``stop`` was set first.
            PhiError: this very thread has the turn: waiting would last for ever.
        """
        me = threading.get_ident()
        with self._condition:
            if me in self._queue:
                raise PhiError("another answer is still being streamed here: read it to its end or close() it first")
            self._queue.append(me)
            waits = self._queue[0] != me
        try:
            if waits:
                on_wait()
            with self._condition:
                while self._queue[0] != me:
                    stop.check()
                    self._condition.wait(_LOOK)
        except BaseException:
            self._leave(me)
            raise

    @property
    def mine(self) -> bool:
        """Whether this thread has the turn."""
        with self._condition:
            return bool(self._queue) and self._queue[0] == threading.get_ident()

    def give(self) -> None:
        with self._condition:
            self._queue.popleft()
            self._condition.notify_all()

    def try_take(self) -> bool:
        """Take the turn if nobody has it."""
        with self._condition:
            if self._queue:
                return False
            self._queue.append(threading.get_ident())
            return True

    def _leave(self, me: int) -> None:
        with self._condition:
            self._queue.remove(me)
            self._condition.notify_all()
