"""The thread of a widget: one piece of work at a time, so that the kernel can handle the stop button meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..errors import PhiError
from ..interrupt import Interrupted, Stop


class WidgetThread:
    """Runs one function at a time.

    Args:
        on_error: told in one line when the work failed. What is no :class:`PhiError` goes on to
            ``threading.excepthook`` too, with its traceback.
        on_end: called on the thread after each work, however it ended.
    """

    def __init__(self, *, on_error: Callable[[str], None], on_end: Callable[[], None] = lambda: None) -> None:
        self._on_error = on_error
        self._on_end = on_end
        self._thread: threading.Thread | None = None
        self._stop = Stop()

    @property
    def busy(self) -> bool:
        return self._thread is not None

    def start(self, work: Callable[[Stop], None], stop: Stop | None = None) -> bool:
        """Begin, unless something is under way; ``stop`` is handed to the work and set by :meth:`stop`."""
        if self.busy:
            return False
        self._stop = stop or Stop()
        # A daemon: a kernel that is shut down does not wait for an answer.
        self._thread = threading.Thread(target=self._run, args=(work, self._stop), name="phi_magic", daemon=True)
        self._thread.start()
        return True

    def stop(self) -> None:
        self._stop.set()

    def wait(self, timeout: float | None = None) -> None:
        """Until nothing is under way."""
        if thread := self._thread:
            thread.join(timeout)

    def _run(self, work: Callable[[Stop], None], stop: Stop) -> None:
        try:
            work(stop)
        except Interrupted:
            pass  # as was asked for
        except PhiError as error:
            self._on_error(str(error))
        except BaseException as error:
            self._on_error(f"{type(error).__name__}: {error}")
            raise
        finally:
            self._thread = None
            self._on_end()
