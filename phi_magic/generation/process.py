"""Call the process that runs the engine, listen to it, and end it."""

from __future__ import annotations

import itertools
import os
import selectors
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue

import msgspec

from ..errors import PhiError, PromptTooLong, RowsRefused, WorkerEnded
from ..interrupt import Interrupted, Stop
from ..machine import available, oom_kills, show_size
from .launch import launch
from .wire import Begun, Call, Cancel, Failed, Result, WorkerMessage, decode_message, encode

#: Seconds that the process has to react to a stop before it is ended.
GRACE = 2.0
_LOOK = 0.05  # seconds between looks at the stop flag
_LOG = 8192  # bytes of standard error that are kept


class Retired(Exception):
    """The process ended before it began with the call, so the call is not the reason: a new process takes it."""


class WorkerProcess:
    """A running worker process.

    Raises:
        PhiError: the system grants no process or no file descriptors.
    """

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._calls: dict[int, SimpleQueue[WorkerMessage | None]] = {}
        self._numbers = itertools.count(1)
        self._outbox: SimpleQueue[tuple[int, bytes] | None] = SimpleQueue()
        self._log = bytearray()
        self._oom_kills = oom_kills()
        self._peak = 0  # bytes
        self._killed = self._spoke = False
        self.ended = False
        self._process, self._outgoing, self._incoming = launch()
        self._listener = threading.Thread(target=self._listen, name="phi_magic-worker", daemon=True)
        try:
            threading.Thread(target=self._send, name="phi_magic-calls", daemon=True).start()
            self._listener.start()
        except RuntimeError as error:
            self._outbox.put(None)
            self._process.kill()
            self._process.wait()
            raise PhiError(f"the model's process cannot be listened to: {error}") from error

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def busy(self) -> bool:
        """Whether a call is under way."""
        return bool(self._calls)

    @property
    def mine(self) -> bool:
        """Whether this process started it; false in a forked child."""
        return self._owner == os.getpid()

    @property
    def usable(self) -> bool:
        """Whether it takes calls."""
        return self.mine and not self.ended and not self._killed

    def call(self, make: Callable[[int], Call], stop: Stop) -> Iterator[WorkerMessage]:
        """Make a call and yield its messages, the last one being a :class:`~phi_magic.generation.wire.Result`.

        Closing the generator cancels the call. A process that does not react to a stop within ``GRACE`` seconds is
        ended.

        Args:
            make: gives the call for its number.
            stop: cancels the call.

        Raises:
            Interrupted: the call was stopped.
            Retired: the process ended before it began with this call, having begun with others.
            WorkerEnded: the process ended during the call, or has never begun with any.
            PhiError: the call failed.
        """
        number = next(self._numbers)
        queue = self._calls[number] = SimpleQueue()
        over, taken, deadline = False, False, float("inf")
        try:
            self._outbox.put((number, encode(make(number))))
            while not over:
                if stop.requested and deadline == float("inf"):
                    deadline = time.monotonic() + GRACE
                    self._cancel(number)
                try:
                    message = queue.get(timeout=_LOOK)
                except Empty:
                    if time.monotonic() > deadline:
                        over = True
                        self.kill()
                        raise Interrupted from None
                    continue
                if message is None:
                    over = True
                    if stop.requested:
                        raise Interrupted
                    raise self._ending(taken=taken)
                taken = True
                over = isinstance(message, Result | Failed)
                if isinstance(message, Failed):
                    raise _error(message)
                if not isinstance(message, Begun):
                    yield message
        finally:
            self._calls.pop(number, None)
            if not over:
                self._cancel(number)

    def kill(self) -> None:
        """End the process now."""
        self._killed = True
        self._process.kill()

    def close(self, patience: float = GRACE) -> None:
        """End the process in good order: it notices that the connection is closed.

        Args:
            patience: seconds to wait before it is killed.
        """
        self._killed = True
        self._outbox.put(None)
        self._listener.join(patience)
        if not self.ended:
            self._process.kill()
            self._listener.join(patience)

    def _send(self) -> None:
        """Write messages to the pipe, on a separate thread: a process that hangs does not empty it."""
        while (message := self._outbox.get()) is not None:
            number, data = message
            try:
                self._outgoing.send_bytes(data)
            except OSError:  # it has ended: the listener has told the calls that were there by then
                if self.ended and (queue := self._calls.get(number)) is not None:
                    queue.put(None)
            del message, data  # the requests of a long map are not kept until the next message
        self._outgoing.close()

    def _cancel(self, number: int) -> None:
        if self.usable:
            self._outbox.put((number, encode(Cancel(number))))

    def _listen(self) -> None:
        """Hand every message to its call until the process ends; keep the last lines of its standard error."""
        output = self._process.stdout
        if output is None:
            raise RuntimeError("the worker's output is not piped")
        with selectors.DefaultSelector() as selector, output, self._incoming:
            selector.register(output, selectors.EVENT_READ)
            selector.register(self._incoming, selectors.EVENT_READ)
            with suppress(EOFError, OSError):
                while True:
                    for key, _ in selector.select():
                        if key.fileobj is self._incoming:
                            self._deliver(self._incoming.recv_bytes())
                        elif said := output.read(4096):
                            self._log = (self._log + said)[-_LOG:]
                        else:
                            selector.unregister(output)
            self._reap(selector, output)

    def _deliver(self, data: bytes) -> None:
        try:
            message = decode_message(data)
        except msgspec.DecodeError:  # the process's memory is damaged
            self._process.kill()
            return
        self._spoke = True
        if (queue := self._calls.get(message.id)) is not None:
            queue.put(message)

    def _reap(self, selector: selectors.BaseSelector, output: object) -> None:
        """Wait for the process, and tell every call that is under way."""
        deadline = time.monotonic() + GRACE
        while True:
            pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                self._process.kill()
            time.sleep(0.005)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        with suppress(OSError):
            while selector.select(0) and output in {key.fileobj for key in selector.get_map().values()}:
                said = self._process.stdout.read(4096) if self._process.stdout else b""
                if not said:
                    break
                self._log = (self._log + said)[-_LOG:]
        self.ended = True
        for queue in list(self._calls.values()):
            queue.put(None)

    def _ending(self, *, taken: bool) -> Exception:
        """Return the exception for a call that the end of the process interrupted."""
        code = self._process.returncode
        if self._spoke and not taken:
            return Retired()
        if self._killed:
            return WorkerEnded("the model was unloaded before the answer was whole: ask again")
        lines = [line.strip() for line in self._log.decode("utf-8", "replace").splitlines() if line.strip()]
        said = f" ({' / '.join(lines[-3:])[-300:]})" if lines else ""
        if code < 0:
            name = next((one.name for one in signal.Signals if one == -code), "unknown")
            how = f"was ended by signal {-code} ({name})"
        else:
            how = f"ended with status {code}"
        if code == -signal.SIGALRM:
            how += ", as the time was up for reading the model's file, its chat template or the text"
        if code == -signal.SIGKILL and oom_kills() > self._oom_kills:
            budget = available()
            how = (
                f"was ended by the system for want of memory (signal 9): it held {show_size(self._peak)}, and there is "
                f"{show_size(max(budget.bytes, 0))} now ({budget.source}); a smaller model, n_ctx or max_tokens takes less"
            )
        return WorkerEnded(
            f"the model's process {how}{said}; variables and answers are kept: ask again to start a new one"
        )


def _error(failed: Failed) -> Exception:
    """The exception that a failed call stands for."""
    if failed.interrupted:
        return Interrupted()
    if failed.traceback:
        return RuntimeError(f"the model's process failed:\n{failed.traceback}")
    if failed.refused:
        return RowsRefused(failed.refused, failed.count)
    if failed.context:
        return PromptTooLong(failed.error, failed.tokens, failed.context)
    return PhiError(failed.error)
