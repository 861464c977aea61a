"""Streams: what a caller reads while an answer is written."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from ..errors import PhiError
from ..interrupt import Interrupted, Stop
from ..rendering.extract import data
from ..reply import Reply

if TYPE_CHECKING:
    from ..models.fingerprint import Identity
    from ..schema.structure import Structure
    from .backend import Backend, Event, OnStatus
    from .request import GenerationRequest

Item = TypeVar("Item")
Made = TypeVar("Made")
_END: Any = object()


@dataclass(frozen=True, slots=True)
class Question:
    """A request, the reply that is filled in with its answer, and what makes an object of the answer's text."""

    request: GenerationRequest
    reply: Reply
    structure: Structure | None = None
    json: bool = False  #: the answer is to be parsed into ``Reply.data``
    cache: str = ""  #: where the answer is looked for and kept; empty: nowhere

    def parse(self) -> None:
        """Fill in ``data``, where JSON was asked for; where the answer has none, ``error`` says why."""
        if self.reply.finish_reason in ("interrupted", "error"):
            return
        if self.structure:
            self.structure.fill(self.reply)
        elif self.json:
            try:
                self.reply.data = data(self.reply.text)
            except PhiError as error:
                self.reply.error = str(error)


class Running(Iterator[Item], AsyncIterator[Item], Generic[Item, Made]):
    """The work of a backend, step by step; Ctrl-C and other threads can stop it, and the partial answers stay. It reads
    a generator that does one step at a time. An interrupt sets a flag that the backend checks. When the generator has
    cleaned up and ended, ``KeyboardInterrupt`` is raised.

    ``async for`` waits for each step in its own thread, and ``await`` for all of them, so that the event loop stays
    free. A task that is cancelled stops the backend.
    """

    replies: list[Reply]  #: what is filled in

    def __init__(self, steps: Generator[Item, None, None], stop: Stop, result: Made) -> None:
        self.stopping = stop
        self._steps = steps
        self._owner = os.getpid()
        self._result = result
        self._reading = threading.Lock()
        self._thread: ThreadPoolExecutor | None = None

    def __next__(self) -> Item:
        if os.getpid() != self._owner:
            raise PhiError("a forked process cannot read its parent's answer: ask again in the child")
        if not self._reading.acquire(blocking=False):
            raise PhiError("another thread is reading this answer just now: read it in one, or ask in each")
        try:
            with self.stopping.interrupt_as_flag():
                return next(self._steps)
        except StopIteration:
            if self.stopping.by_signal:
                self.stopping.by_signal = False
                raise KeyboardInterrupt from None
            raise
        finally:
            self._reading.release()

    async def __anext__(self) -> Item:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "phi_magic answer")
        loop = asyncio.get_running_loop()
        try:
            item = await loop.run_in_executor(self._thread, next, self, _END)
        except asyncio.CancelledError:
            self.stop()
            self._thread.shutdown(wait=False)
            raise
        if item is _END:
            self._thread.shutdown(wait=False)
            raise StopAsyncIteration
        return cast("Item", item)

    def __await__(self) -> Generator[Any, None, Made]:
        return self._whole().__await__()

    async def _whole(self) -> Made:
        async for _ in self:
            pass
        return self._result

    @contextmanager
    def in_order(self) -> Iterator[None]:
        """Put this around a loop over the stream: it closes the stream however the loop ends, by an interrupt too."""
        with self.stopping.interrupt_at_the_end(), closing(self):
            yield

    @contextmanager
    def finishing(self, finish: Callable[[], None]) -> Iterator[None]:
        """As :meth:`in_order`, and call ``finish`` after the loop, whatever ended it: it shows and binds what is there.

        It is not called where a :class:`~phi_magic.errors.PhiError` came before anything was answered.
        """
        with self.in_order():
            try:
                yield
            except BaseException as error:
                self.close()  # so that the replies are complete
                if not isinstance(error, PhiError) or any(reply.begun for reply in self.replies):
                    finish()
                raise
            finish()

    def run(self) -> None:
        """Go on to the end."""
        with self.in_order():
            for _ in self:
                pass

    def stop(self) -> None:
        """End here, from any thread; ``finish_reason`` becomes ``interrupted``."""
        self.stopping.set()

    def close(self) -> None:
        """Stop the backend's work for this, though it is not at its end; where another thread reads it, at its step."""
        if self._reading.acquire(blocking=False):
            try:
                self._steps.close()
            finally:
                self._reading.release()
        else:
            self.stop()


class Stream(Running[str, Reply]):
    """An answer while it is written: iterate over it for the pieces of its text.

    ``reply`` grows as it goes, and is whole when the iteration ends. Nothing is done before the first piece is asked
    for; from then on the answer is written whether it is read or not.
    """

    def __init__(self, question: Question, backend: Backend, *, on_status: OnStatus) -> None:
        stop = Stop()
        super().__init__(_pieces(question, backend, stop, on_status), stop, question.reply)
        self.reply = question.reply
        self.replies = [self.reply]


class StreamAll(Running[int, "list[Reply]"]):
    """Answers while they are written: iterate over it for the numbers of those that began, grew or ended."""

    def __init__(
        self, questions: Sequence[Question], backend: Backend, *, keep_errors: bool = False, on_status: OnStatus
    ) -> None:
        stop = Stop()
        self.replies = [question.reply for question in questions]
        super().__init__(_numbers(questions, backend, stop, on_status, keep_errors=keep_errors), stop, self.replies)


def _pieces(question: Question, backend: Backend, stop: Stop, on_status: OnStatus) -> Generator[str, None, None]:
    """Yield the pieces of an answer's text, and fill in its reply; an empty piece where its thoughts grew, and
    where it is whole and its model is yet to be identified.
    """
    events = backend.generate(question.request, stop, on_status=on_status)
    with closing(_recorded([question], events, stop)) as recorded:
        for _, text, grown in recorded:
            if grown:
                yield text


def _numbers(
    questions: Sequence[Question], backend: Backend, stop: Stop, on_status: OnStatus, *, keep_errors: bool
) -> Generator[int, None, None]:
    """Yield the number of each answer that began, grew or ended, and fill in the replies; one that is an error stays so."""
    yield from (number for number, question in enumerate(questions) if question.reply.error)
    numbers = [number for number, question in enumerate(questions) if not question.reply.error]
    asked = [questions[number] for number in numbers]
    del questions
    if asked:
        events = backend.generate_many(
            [question.request for question in asked], stop, keep_errors=keep_errors, on_status=on_status
        )
        with closing(_recorded(asked, events, stop)) as recorded:
            for number, _, _ in recorded:
                yield numbers[number]


def _recorded(
    questions: list[Question], events: Iterator[Event], stop: Stop
) -> Generator[tuple[int, str, bool], None, None]:
    """Fill in the replies, and yield the number and the new text of each event; identify the models meanwhile.

    The third value says whether there is something to show: text, thoughts, or an answer that is whole though its model
    is not identified yet. What was asked is let go of when its answer is over.
    """
    from ..models.fingerprint import Identity
    from .backend import Finished, Started
    from .record import Recorder

    asked = time.perf_counter()
    replies = [question.reply for question in questions]
    waiting = dict(enumerate(questions))
    questions.clear()
    recorders: dict[int, Recorder] = {}  # of the answers that have begun
    identities: dict[tuple[str, str | None], Identity] = {}  # of the models' files
    identified: list[Identity | None] = [None] * len(replies)
    engine: dict[str, Any] = {}
    try:
        with closing(events):  # type: ignore[type-var]  # events are a generator's
            for event in events:
                number = event.index
                if number not in recorders:
                    recorders[number] = Recorder(replies[number], asked)
                text = recorders[number].apply(event)
                if isinstance(event, Started):
                    if replies[number].engine == engine:
                        replies[number].engine = engine  # one for all rows that share it
                    engine = replies[number].engine
                    if event.path and waiting[number].request.identify:
                        file = event.path, event.model_sha256
                        if file not in identities:
                            identities[file] = Identity(Path(event.path), event.model_sha256)
                        identified[number] = identities[file]
                awaited = False
                if isinstance(event, Finished):
                    identity = identified[number]
                    awaited = identity is not None and identity.pending and not stop.requested
                    with stop.interrupt_at_once():  # the validators of a class may take any time
                        waiting[number].parse()
                    del waiting[number], recorders[number]
                thought = "" if isinstance(event, Started) else event.reasoning
                yield number, text, bool(text or thought or awaited)
        for identity in identities.values():
            identity.wait(stop)
    except Interrupted:
        pass  # a reply is interrupted until its last event says otherwise
    finally:
        for reply, identity in zip(replies, identified, strict=True):
            if identity:
                reply.model_sha256 = identity.sha256
            reply.timings.total = reply.timings.total or time.perf_counter() - asked
