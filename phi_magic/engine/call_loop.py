"""The worker process: it takes calls from the kernel, one after the other, and answers them with the engine."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING

from ..errors import PhiError, PromptTooLong, RowsRefused
from ..generation.backend import OnStatus
from ..generation.wire import (
    Begun,
    Call,
    Cancel,
    Describe,
    Events,
    Failed,
    Generate,
    Load,
    Look,
    Result,
    Status,
    Tokenize,
    Unload,
    WorkerMessage,
    decode_call,
    encode,
)
from ..interrupt import Interrupted, Stop
from .bound import bounded

if TYPE_CHECKING:
    from .engine import Engine

_GROUP = 0.004  # seconds between two groups of messages
_ORPHAN = 0.5  # seconds between checks that the kernel is still there


def main(calls: int, answers: int) -> None:
    """Serve calls until the pipe that they come by closes; does not return.

    Args:
        calls: descriptor of the pipe to read calls from, inherited.
        answers: descriptor of the pipe to write messages to, inherited.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the kernel says when to stop
    with suppress(OSError):  # only Linux has it: when memory is short, end this process first
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    loop = CallLoop(Connection(calls, writable=False), Connection(answers, readable=False))
    loop.serve()
    os._exit(0)  # nothing is left to clean up, and C++ destructors can be slow


class CallLoop:
    """Listens on one thread, works on the main one, and sends on a third."""

    def __init__(self, calls: Connection, answers: Connection) -> None:
        self._calls = calls
        self._answers = answers
        self._sending = threading.Lock()
        self._lock = threading.Lock()
        self._waiting: dict[int, Call] = {}  # calls that are not begun, oldest first
        self._come = threading.Semaphore(0)  # counts them
        self._current: tuple[int, Stop] = (0, Stop())
        self._idle = Stop()
        self._keep_alive = -1.0
        self._outbox: Queue[WorkerMessage] = Queue()
        threading.Thread(target=self._listen, name="phi_magic-listen", daemon=True).start()
        threading.Thread(target=self._deliver, name="phi_magic-send", daemon=True).start()
        threading.Thread(target=_watch, args=(os.getppid(),), name="phi_magic-watch", daemon=True).start()

    def serve(self) -> None:
        """Answer calls until there is an :class:`~phi_magic.generation.wire.Unload`, or none for long enough."""
        from .engine import Engine  # imports llama.cpp: the listener hears a stop meanwhile

        engine = Engine(bound=lambda what: bounded(what, self._give_up))
        while True:
            if not self._waiting:
                engine.idle(self._idle)
            if not self._come.acquire(timeout=self._keep_alive if self._keep_alive >= 0 else None):
                break
            if (call := self._next()) is not None:
                self._send(Begun(call.id))  # send it at once: the work may end the process
                self._outbox.put(self._answer(engine, call, self._current[1]))
                if isinstance(call, Unload):
                    break
                del call  # a long map's requests are not kept until the next call
        self._outbox.join()

    def _next(self) -> Call | None:
        """Begin the oldest waiting call; None where it was cancelled meanwhile."""
        with self._lock:
            self._idle = Stop()
            if not self._waiting:
                return None
            call = self._waiting.pop(next(iter(self._waiting)))
            self._current = call.id, Stop()
            return call

    def _listen(self) -> None:
        """Take messages until the kernel's end of the pipe closes; then end the process, whatever it does.

        Without this thread the process would neither hear a stop nor end, so any error here ends it too. The kernel
        quotes the last lines of the traceback.
        """
        status = 1
        try:
            while True:
                self._take(decode_call(self._calls.recv_bytes()))
        except (EOFError, OSError):
            status = 0
        except Exception:  # noqa: BLE001 (a message that cannot be decoded, for one)
            traceback.print_exc(limit=0)
        finally:
            os._exit(status)

    def _take(self, message: Call | Cancel) -> None:
        with self._lock:
            if not isinstance(message, Cancel):
                self._waiting[message.id] = message
                self._idle.set()
                self._come.release()
            elif self._waiting.pop(message.id, None):
                self._outbox.put(Failed(message.id, interrupted=True))
            elif message.id == self._current[0]:
                self._current[1].set()

    def _deliver(self) -> None:
        """Send messages: one at once, those that come while it waits in groups.

        A group takes the kernel as little time as a single message. The wait is too short to be seen.
        """
        while True:
            group = [self._outbox.get()]
            with suppress(Empty):
                while True:
                    group.append(self._outbox.get_nowait())
            for message in _merged(group):
                self._send(message)
            for _ in group:
                self._outbox.task_done()
            time.sleep(_GROUP)

    def _send(self, message: WorkerMessage) -> None:
        try:
            data = encode(message)
        except Exception as error:  # noqa: BLE001 (a programming error: the call fails, and the thread that sends lives on)
            data = encode(Failed(message.id, traceback=ascii(f"{type(message).__name__} cannot be sent: {error}")))
            if message.id == self._current[0]:
                self._current[1].set()
        with suppress(OSError), self._sending:  # the kernel is gone: the listener ends the process
            self._answers.send_bytes(data)

    def _answer(self, engine: Engine, call: Call, stop: Stop) -> WorkerMessage:
        """Do what a call asks for, and return its last message."""

        def on_status(text: str) -> None:
            self._outbox.put(Status(call.id, text))

        try:
            if isinstance(call, Generate):
                self._keep_alive = call.common[0].model.keep_alive
                self._generate(engine, call, stop, on_status)
            elif isinstance(call, Look):
                self._keep_alive = call.request.model.keep_alive
                position = engine.look(call.request, stop, on_status=on_status)
                names, ends = (list(position.names), sorted(position.ends)) if call.names else ([], [])
                return Result(call.id, logits=position.logits.tobytes(), names=names, ends=ends)
            elif isinstance(call, Tokenize):
                self._keep_alive = call.model.keep_alive
                return Result(call.id, tokens=engine.tokenize(call.model, call.text, stop))
            elif isinstance(call, Load):
                self._keep_alive = call.model.keep_alive
                engine.load(call.model, stop, on_status=on_status)
            elif isinstance(call, Describe):
                return Result(call.id, info=engine.describe(call.model, call.n_ctx, stop))
            return Result(call.id)
        except Interrupted:
            return Failed(call.id, interrupted=True)
        except PromptTooLong as error:
            return Failed(call.id, str(error), tokens=error.tokens, context=error.context)
        except RowsRefused as error:
            return Failed(call.id, refused=error.reasons, count=error.count)
        except PhiError as error:
            return Failed(call.id, str(error))
        except MemoryError:
            return Failed(call.id, "no memory is left for the model: delete large variables, or take a smaller model")
        except Exception:  # noqa: BLE001 (a programming error: its traceback goes to the caller)
            return Failed(call.id, traceback=traceback.format_exc())

    def _generate(self, engine: Engine, call: Generate, stop: Stop, on_status: OnStatus) -> None:
        if call.together:
            events = engine.generate_many(call.requests, stop, keep_errors=call.keep_errors, on_status=on_status)
        else:
            events = engine.generate(call.requests[0], stop, on_status=on_status)
        for event in events:
            self._outbox.put(Events(call.id, [event]))

    def _give_up(self, reason: str) -> None:
        self._outbox.put(Failed(self._current[0], reason))
        self._outbox.join()
        os._exit(0)


def _merged(messages: list[WorkerMessage]) -> Iterator[WorkerMessage]:
    """Join consecutive events of one call into one message."""
    for (number, kind), together in groupby(messages, key=lambda message: (message.id, type(message))):
        if kind is Events:
            yield Events(
                number, [event for message in together if isinstance(message, Events) for event in message.events]
            )
        else:
            yield from together


def _watch(parent: int) -> None:
    """End the process when the kernel has gone, even where a child of the kernel still holds the pipe."""
    while os.getppid() == parent:
        time.sleep(_ORPHAN)
    os._exit(0)
