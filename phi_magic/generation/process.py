"""Start the process that runs the engine, listen to it, and end it.

It is started with ``subprocess`` and the same interpreter, so that a script needs no ``__main__`` guard. It has its
own session: an interrupt of the kernel's process group does not reach it. It ends when the pipe for its calls
closes, which happens however the kernel ends.
"""

from __future__ import annotations

import itertools
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from queue import Empty, SimpleQueue

import msgspec

from ..errors import PhiError, PromptTooLong, RowsRefused, WorkerEnded
from ..interrupt import Interrupted, Stop
from ..machine import available, oom_kills, show_size
from .wire import Answer, Begun, Call, Cancel, Failed, Result, decode_answer, encode

#: Seconds that the process has to react to a stop before it is ended.
GRACE = 2.0
_LOOK = 0.05  # seconds between looks at the stop flag
_LOG = 8192  # bytes of standard error that are kept
_PACKAGE = str(Path(__file__).resolve().parent.parent.parent)


class Retired(Exception):
    """The process ended before it began with the call, so the call is not the reason: a new process takes it."""


class WorkerProcess:
    """A running worker process.

    Raises:
        PhiError: the system grants no process or no file descriptors.
    """

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._calls: dict[int, SimpleQueue[Answer | None]] = {}
        self._numbers = itertools.count(1)
        self._outbox: SimpleQueue[tuple[int, bytes] | None] = SimpleQueue()
        self._log = bytearray()
        self._oom_kills = oom_kills()
        self._peak = 0  # bytes
        self._killed = self._spoke = False
        self.ended = False
        try:
            with ExitStack() as failing, ExitStack() as theirs:
                (calls, self._outgoing), (self._incoming, answers) = _pipe(), _pipe()
                for end in (self._outgoing, self._incoming):
                    failing.callback(end.close)
                for end in (calls, answers):
                    theirs.callback(end.close)
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _bootstrap(calls.fileno(), answers.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    pass_fds=[calls.fileno(), answers.fileno()],
                    start_new_session=True,
                    bufsize=0,
                    env=_environment(),
                )
                failing.pop_all()
        except OSError as error:
            raise PhiError(f"the model's process cannot be started: {error.strerror or error}") from error
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

    def call(self, make: Callable[[int], Call], stop: Stop) -> Iterator[Answer]:
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
            message = decode_answer(data)
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


def _pipe() -> tuple[Connection, Connection]:
    """A pipe's two ends, to read from and to write to, both above the standard streams.

    Where the kernel's standard streams are closed, a pipe gets their descriptors, and ``subprocess`` puts the child's
    own standard streams in their place.
    """
    import fcntl

    reading, writing = Pipe(duplex=False)
    with reading, writing:
        return (
            Connection(fcntl.fcntl(reading.fileno(), fcntl.F_DUPFD_CLOEXEC, 3), writable=False),
            Connection(fcntl.fcntl(writing.fileno(), fcntl.F_DUPFD_CLOEXEC, 3), readable=False),
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


def _bootstrap(calls: int, answers: int) -> str:
    """The program of the process: the kernel's own import path, less the folder that it runs in.

    A file there that is named like a library would be imported instead of the library.
    """
    path = [_PACKAGE, *(entry for entry in sys.path if entry not in ("", _PACKAGE))]
    return f"import sys; sys.path[:] = {path!r}; from phi_magic.engine.call_loop import main; main({calls}, {answers})"


def _environment() -> dict[str, str]:
    """The environment, with short spins for OpenMP's threads and without ggml's backtrace.

    Where gdb is installed, ggml runs it after a failed assertion, and its output hides the assertion's line (0.3.36).
    libgomp's threads spin at each barrier. On a machine with other work that costs more than a second thread brings;
    2,000 turns cost nothing on a quiet machine (docs/performance.md). It is read when the library is loaded.
    """
    return {"GOMP_SPINCOUNT": "2000", "GGML_NO_BACKTRACE": "1", **os.environ}
