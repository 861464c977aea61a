"""The model that this process holds, and whose turn it is to use it."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ..errors import PhiError
from ..gguf.checks import Header, read_header
from ..interrupt import Interrupted, Stop
from ..machine import available
from ..paths import show_path
from .batch import WIDE, Batch
from .context import SLICE_MAX, Context
from .lease import Lease, safe_to_map
from .memory_estimate import Need, estimate_memory, refusal
from .model import Model
from .plan import Plan
from .threads import check_threads
from .turn import Turn
from .width import MOST, Width

_FAREWELL = 2.0  # seconds that Python's end waits for answers to stop


class Engine:
    """At most one model, with one context; another model replaces it.

    Use it only between :meth:`turn`'s enter and exit.
    """

    def __init__(self) -> None:
        self._turn = Turn()
        self._process = os.getpid()
        self._key: tuple[object, ...] = ()
        self._inspected: tuple[tuple[object, ...], Header | None] = ((), None)
        self._idle: threading.Timer | None = None
        self._ahead = Stop()
        self._using = Stop()  # of whoever has the turn
        self._ending = False
        self._lease: Lease | None = None
        self._mapped = False
        self.header: Header | None = None
        self.model: Model | None = None
        self.context: Context | None = None
        self.width = Width()
        self.pass_seconds: dict[int, float] = {}  # of the model's passes over a token and so many guesses

    @contextmanager
    def turn(self, *, stop: Stop, keep_alive: float = -1, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Have the engine to oneself; ``keep_alive`` seconds after, unless used again, the model is freed.

        Raises:
            Interrupted: ``stop`` was set while waiting.
            PhiError: in a forked process, or when this thread has the turn already; or the turn ended before its time,
                since another program began to write the model's file.
        """
        if os.getpid() != self._process:
            raise PhiError("a forked process cannot use its parent's model: start it with the 'spawn' method")
        self._ahead.set()
        self._turn.take(stop=stop, on_wait=on_wait)
        try:
            self._using = stop
            if self._ending:
                stop.set()
            stop.check()
            if self._idle:
                self._idle.cancel()
                self._idle = None
            try:
                yield
            finally:
                if keep_alive >= 0 and self.model:
                    self._idle = threading.Timer(keep_alive, self._expire)
                    self._idle.daemon = True
                    with suppress(RuntimeError):  # no memory for a thread: the model stays
                        self._idle.start()
        except Interrupted:
            if self._lease and self._lease.broken:
                raise _being_written(self._lease.path) from None
            raise
        finally:
            self._turn.give()

    def inspect(self, path: Path) -> Header:
        """What a GGUF says of itself, read once while the file stays the same.

        Raises:
            PhiError: the file is no sound GGUF.
        """
        stamp = _stamp(path)
        known, header = self._inspected
        if header is None or stamp != known:
            header = read_header(path)
            self._inspected = stamp, header
        return header

    def load(
        self, header: Header, plan: Plan, *, stop: Stop, on_progress: Callable[[float], None] = lambda _: None
    ) -> None:
        """Load an inspected model, to run after a plan; what was loaded already is used again, anything else is freed first.

        Its file is mapped only where nobody can shorten it meanwhile, whatever the plan says.

        Raises:
            PhiError: the model does not fit the memory, llama.cpp refuses it, or its file changes meanwhile.
            Interrupted: ``stop`` was set.
        """
        check_threads(plan.n_threads)
        stamp = self._inspected[0]
        key = (*stamp, plan)
        if key == self._key and not (self._lease and self._lease.broken):
            return
        self._free()
        _check(_need(header, plan, 0), 0, header)
        self._mapped = plan.mmap and self._keeps(header.path)
        try:
            self.model = Model(
                header.path,
                n_gpu_layers=plan.n_gpu_layers,
                repack=plan.repack,
                mmap=self._mapped,
                stop=stop,
                on_progress=on_progress,
            )
            _check_same(header.path, stamp)
            self.header, self.context, self._key = header, Context(self.model, plan), key
            self.width, self.pass_seconds = Width(), {}
        except BaseException as error:
            written = self._lease and self._lease.broken
            self._free()
            if written and isinstance(error, Interrupted):
                raise _being_written(header.path) from None
            raise

    def _keeps(self, path: Path) -> bool:
        """Whether a file will stay as long as it is, from now until it is let go of."""
        try:
            self._lease = Lease(path, self._let_go)
        except (OSError, RuntimeError):  # no lease, or no thread to watch it
            return safe_to_map(path)
        return True

    @property
    def loaded(self) -> tuple[Model, Context]:
        """The model and its context; there must be one."""
        if not (self.model and self.context):
            raise RuntimeError("no model is loaded")
        return self.model, self.context

    def check_room(self, room: int) -> None:
        """Whether the loaded model's context may grow to ``room`` tokens.

        Raises:
            PhiError: it does not fit the memory.
        """
        if self.context and self.header and room > self.context.size:
            context, header = self.context, self.header
            held = self._weights_held(header)
            if context.size:
                now = _need(header, context.plan, context.size)
                held += now.total - now.weights
            need = _need(header, context.plan, room)
            try:
                _check(need, held, header)
            except PhiError:  # what was put aside of other questions gives way to this one
                context.clear_shelf()
                _check(need, held, header)

    def _weights_held(self, header: Header) -> int:
        """Bytes of weights that no longer count as free: those in mapped pages do, since the system could drop them."""
        return 0 if self._mapped and not available().counts_files else header.weight_bytes

    def batch(self, count: int, room: int) -> Batch:
        """Lanes for ``count`` answers of the loaded model, each with room for so many tokens: as many as there is
        memory for, ``MOST`` at most, and never fewer than a wide pass has. How many pay off, :attr:`width` finds out.

        Raises:
            PhiError: not even those fit.
        """
        model, context = self.loaded
        header = self.inspect(model.path)
        held = self._weights_held(header)
        lanes = min(MOST, max(WIDE, count))
        while True:
            try:
                _check(_need(header, context.plan, room, sequences=lanes + 1), held, header)
                return Batch(model, context.plan, lanes=lanes, room=room)
            except PhiError:
                if context.size:  # what was read of other questions gives way to these
                    context.close()
                elif lanes == WIDE:
                    raise
                else:
                    lanes = max(WIDE, lanes // 2)

    def read_ahead(self, context: Context, prompt: Sequence[int]) -> threading.Thread:
        """Have a prompt evaluated that may come, for as long as nobody wants the engine; returns who does it.

        Nothing is done where another model's context is loaded by then.

        An answer's tokens were decoded one by one, and as history they must be evaluated again, as a prompt is: best
        while the user reads it.
        """
        stop = self._ahead = Stop()

        def read() -> None:
            if not self._turn.try_take():
                return
            try:
                if self.context is context and len(prompt) <= context.size:
                    check_threads(context.plan.n_threads)
                    context.prefill(prompt, room=len(prompt), stop=stop)
            except (Interrupted, PhiError):
                pass  # somebody asked, or there are no threads: it is read when it is asked for
            finally:
                self._turn.give()

        reader = threading.Thread(target=read, name="phi_magic-ahead", daemon=True)
        with suppress(RuntimeError):  # no memory for a thread: it is read when it is asked for
            reader.start()
        return reader

    def unload(self, stop: Stop | None = None) -> None:
        """Free the model, once nobody uses it.

        Raises:
            KeyboardInterrupt: Ctrl-C; it is freed, or nothing is.
        """
        stop = stop or Stop()
        with stop.deferring_interrupts(), self.turn(stop=stop):
            self._free()

    def _let_go(self) -> None:
        """Free the model, whose file somebody is waiting to write."""
        self._ahead.set()
        self._using.set()
        self._turn.take(stop=Stop())
        try:
            if self._lease and self._lease.broken:
                self._free()
        finally:
            self._turn.give()

    def _end(self) -> None:
        """Stop all answers: Python ends, and a thread in llama.cpp would come back to what is no more."""
        self._ending = True
        end = time.monotonic() + _FAREWELL
        while os.getpid() == self._process and time.monotonic() < end and not self._turn.mine:
            self._ahead.set()
            self._using.set()
            if self._turn.try_take():
                break
            time.sleep(0.01)

    def _expire(self) -> None:
        """Free the model, unless somebody has asked meanwhile."""
        self._ahead.set()
        self._turn.take(stop=Stop())
        try:
            if threading.current_thread() is self._idle:
                self._free()
        finally:
            self._turn.give()

    def _free(self) -> None:
        with ExitStack() as stack:  # the last one first, and each whatever becomes of the others
            for held in (self._lease, self.model, self.context):
                if held:
                    stack.callback(held.close)
            self.context = self.model = self.header = self._lease = None
            self._key = ()


def _stamp(path: Path) -> tuple[object, ...]:
    """What tells that a file is another than before."""
    try:
        status = path.stat()
    except OSError as error:
        raise PhiError(f"{show_path(path)}: {(error.strerror or str(error)).lower()}") from None
    return path.resolve(), status.st_ino, status.st_size, status.st_mtime_ns


def _check_same(path: Path, stamp: tuple[object, ...]) -> None:
    if _stamp(path) != stamp:
        raise PhiError(f"{path.name} was changed while it was loaded: ask again")


def _being_written(path: Path) -> PhiError:
    return PhiError(f"{path.name} is being written by another program: ask again later")


def _need(header: Header, plan: Plan, n_ctx: int, sequences: int = 1) -> Need:
    return estimate_memory(
        header,
        n_ctx=(n_ctx or SLICE_MAX) * sequences,
        key_type=plan.key_type,
        value_type=plan.value_type,
        repacked=plan.repack,
        flash_attention=plan.flash_attention,
        sequences=sequences,
    )


def _check(need: Need, held: int, header: Header) -> None:
    budget = available()
    if need.total - held > budget.bytes:
        raise PhiError(refusal(need, budget, header))


#: A process has one memory, and it is the model that fills it: every ``Phi`` shares this one.
shared = Engine()
atexit.register(shared._end)  # noqa: SLF001 (nobody else's to call)
