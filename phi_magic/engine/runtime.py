"""Hold one model with one context, the header of its file, and what was measured with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from ..errors import PhiError
from ..generation.backend import OnStatus, ignore_status
from ..generation.plan import Plan
from ..generation.request import ModelReference
from ..gguf.checks import Header, read_header
from ..interrupt import Interrupted, Stop
from ..machine import available
from ..models.files import resolve
from ..paths import show_path
from .batch import WIDE, Batch
from .context import SLICE_MAX, Context
from .memory_estimate import Need, estimate_memory, refusal
from .model import Model
from .plan import choose
from .width import MOST, Width
from .writer import Clock

#: Makes a context manager that limits a piece of work, from the words that name the work in a message.
Bound: TypeAlias = Callable[[str], AbstractContextManager[None]]


class Runtime:
    """A loaded model and what belongs to it. At most one is loaded; another one replaces it.

    Args:
        bound: limits the time and memory of reading a file's head, of rendering a chat template and of tokenizing;
            without it there are no limits.
        clock: for the times of events.
    """

    def __init__(self, *, bound: Bound = lambda _: nullcontext(), clock: Clock = time.perf_counter) -> None:
        self.bound = bound
        self.clock = clock
        self._key: tuple[object, ...] = ()
        self._inspected: tuple[tuple[object, ...], Header | None] = ((), None)
        self._ahead: Callable[[], Sequence[int]] | None = None
        self.header: Header | None = None
        self.model: Model | None = None
        self.context: Context | None = None
        self.width = Width()
        self.pass_seconds: dict[int, float] = {}  # of a pass over one token and this many draft tokens

    def load(self, model: ModelReference, stop: Stop, *, on_status: OnStatus = ignore_status) -> None:
        """See :meth:`phi_magic.generation.backend.Backend.load`.

        What is loaded already, to run by the same plan, is used again; anything else is freed first.

        Raises:
            PhiError: the model cannot be had, does not fit the memory, is refused by llama.cpp, or its file changes
                meanwhile.
            Interrupted: ``stop`` was set.
        """
        header, plan, path = self._found(model, stop)
        stamp = self._inspected[0]
        if (*stamp, plan) == self._key:
            return
        self.unload()
        _check(_need(header, plan, 0), 0, header)
        try:
            self.model = Model(
                path,
                n_gpu_layers=plan.n_gpu_layers,
                repack=plan.repack,
                mmap=plan.mmap,
                border=header.rope_border,
                stop=stop,
                on_progress=_loading(on_status, model.name, self.clock),
            )
            _check_same(path, stamp)
            self.header, self.context, self._key = header, Context(self.model, plan), (*stamp, plan)
            self.width, self.pass_seconds = Width(), {}
            if self.model.chat_template is None:
                on_status(f"{model.name} has no chat template: a prompt is written as `Instruct: … Output:`")
        except BaseException:
            self.unload()
            raise

    @contextmanager
    def vocabulary(self, model: ModelReference, stop: Stop) -> Iterator[Model]:
        """Give a model to read prompts with: the loaded one if it is this one, else its vocabulary alone.

        Raises:
            PhiError: the model cannot be had, or would not fit the memory in place of the loaded one.
            Interrupted: ``stop`` was set.
        """
        header, plan, path = self._found(model, stop)
        if self.model and (*self._inspected[0], plan) == self._key:
            yield self.model
            return
        held = self._weights_held(self.header) if self.header else 0
        _check(_need(header, plan, 0), held, header)
        read = Model(path, border=header.rope_border, vocabulary_of=header.context_length, stop=stop)
        with closing(read):
            yield read

    def _found(self, model: ModelReference, stop: Stop) -> tuple[Header, Plan, Path]:
        """Return what a model's file says of itself, the plan to run it by, and its path."""
        stop.check()
        path = Path(model.path) if model.path else resolve(model.name, check=stop.check).path
        header = self.inspect(path)
        return header, self.plan(model, header), path

    def unload(self, stop: Stop | None = None) -> None:
        """See :meth:`phi_magic.generation.backend.Backend.unload`."""
        with ExitStack() as stack:  # in reverse order, each even if closing another one fails
            for held in (self.model, self.context):
                if held:
                    stack.callback(held.close)
            self.context = self.model = self.header = None
            self._key, self._ahead = (), None

    @property
    def loaded(self) -> tuple[Model, Context]:
        """The model and its context; there must be one."""
        if not (self.model and self.context):
            raise RuntimeError("no model is loaded")
        return self.model, self.context

    def read_ahead_later(self, prompt: Callable[[], Sequence[int]]) -> None:
        """Note how to make the tokens of a prompt that is likely to come, for :meth:`idle`."""
        self._ahead = prompt

    def idle(self, stop: Stop) -> None:
        """Use the time without a request: prefill the history of a conversation.

        An answer's tokens were decoded one by one. As history they must be evaluated again, as a prompt is; that is
        best done while the user reads the answer. ``stop`` ends it when a request comes.
        """
        ahead, self._ahead = self._ahead, None
        if ahead and self.context and self.context.plan.slices_alike:
            with suppress(Interrupted, PhiError):  # a request came, or memory is short
                stop.check()
                prompt = ahead()
                if len(prompt) <= self.context.size:
                    self.context.prefill(prompt, room=self.context.size, stop=stop)  # with the RoPE factors that it has

    def plan(self, model: ModelReference, header: Header) -> Plan:
        """Return the plan to run a model by: the recorded one where there is one, on as many threads as suit here."""
        ours = choose(header, profile=model.profile, n_threads=model.n_threads, n_gpu_layers=model.n_gpu_layers)
        return replace(model.plan, n_threads=model.plan.n_threads or ours.n_threads) if model.plan else ours

    def inspect(self, path: Path) -> Header:
        """Return what a GGUF says of itself, read once while the file stays the same.

        Raises:
            PhiError: the file is no sound GGUF.
        """
        stamp = _stamp(path)
        known, header = self._inspected
        if header is None or stamp != known:
            with self.bound("reading the file's head"):
                header = read_header(path)
            self._inspected = stamp, header
        return header

    def check_room(self, room: int) -> None:
        """Check whether the loaded model's context may grow to ``room`` tokens.

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
            except PhiError:  # free the saved KV states of other conversations
                context.drop_saved_states()
                _check(need, held, header)

    def batch(self, count: int, room: int, *, passes: int = MOST) -> Batch:
        """Return a batch for ``count`` sequences of the loaded model, each with room for ``room`` tokens.

        It has as many sequences as fit the memory, at least ``WIDE``, and no more than are worth it: :attr:`width` finds
        out how many sequences to decode at once.

        Args:
            passes: decode passes that an answer may take. Where they are few, wider ones gain less time than it takes to
                make room for them.

        Raises:
            PhiError: not even those fit.
        """
        model, context = self.loaded
        header = self.inspect(model.path)
        held = self._weights_held(header)
        sequences = min(self.width.most, max(WIDE, count), WIDE * max(1, passes))
        while True:
            try:
                _check(_need(header, context.plan, room, sequences=sequences + 1), held, header)
                return Batch(model, context.plan, sequences=sequences, room=room)
            except PhiError:
                if context.size:  # free the KV cache of other questions
                    context.close()
                elif sequences == WIDE:
                    raise
                else:
                    sequences = max(WIDE, sequences // 2)

    def _weights_held(self, header: Header) -> int:
        """Return the bytes of weights that do not count as free memory; mapped pages count as free, since the system
        can drop them.
        """
        mapped = self.context is not None and self.context.plan.mmap
        return 0 if mapped and not available().counts_files else header.weight_bytes


def _stamp(path: Path) -> tuple[object, ...]:
    """Return the facts by which a changed file is noticed."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise PhiError(f"{show_path(path)}: {(getattr(error, 'strerror', '') or str(error)).lower()}") from None
    return path.resolve(), status.st_ino, status.st_size, status.st_mtime_ns


def _check_same(path: Path, stamp: tuple[object, ...]) -> None:
    if _stamp(path) != stamp:
        raise PhiError(f"{path.name} was changed while it was loaded: ask again")


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


def _loading(on_status: OnStatus, name: str, clock: Clock) -> Callable[[float], None]:
    """Return a callback that reports how much is loaded, after half a second and at most ten times a second."""
    said = clock() + 0.4

    def progress(fraction: float) -> None:
        nonlocal said
        if (now := clock()) >= said + 0.1:
            said = now
            on_status(f"loading {name}: {fraction:.0%}")

    return progress
