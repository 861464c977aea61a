"""Start the process that runs the engine.

It is started with ``subprocess`` and the same interpreter, so that a script needs no ``__main__`` guard. It has its
own session: an interrupt of the kernel's process group does not reach it. It ends when the pipe for its calls
closes, which happens however the kernel ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from ..errors import PhiError

_PACKAGE = str(Path(__file__).resolve().parent.parent.parent)


def launch() -> tuple[subprocess.Popen[bytes], Connection, Connection]:
    """Start the process, and return it with the pipe that takes its calls and the pipe that gives its answers.

    Raises:
        PhiError: the system grants no process or no file descriptors.
    """
    try:
        with ExitStack() as failing, ExitStack() as theirs:
            (calls, outgoing), (incoming, answers) = _pipe(), _pipe()
            for end in (outgoing, incoming):
                failing.callback(end.close)
            for end in (calls, answers):
                theirs.callback(end.close)
            process = subprocess.Popen(
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
    return process, outgoing, incoming


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
