"""The default backend: a process that runs the engine, started when a model is first needed.

Whatever ends that process, the kernel and its variables stay, and the next request starts a fresh one.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import msgspec

from ..errors import WorkerEnded
from ..interrupt import Stop
from ..models.files import ModelFile, resolve
from ..position import Position
from .backend import Event, ModelInfo, OnStatus, Started, TokenText, ignore_status
from .process import Retired, WorkerProcess
from .request import GenerationRequest, ModelReference
from .wire import Call, Describe, Events, Generate, Load, Look, Result, Status, Tokenize, Unload, WorkerMessage

Made = TypeVar("Made", bound=Result)


class Worker:
    """A :class:`~phi_magic.generation.backend.Backend` in its own process.

    The model's file is found and downloaded here, in the caller's process, where a progress bar can be shown and Ctrl-C
    is heard. All that reads the file happens in the worker process. Calls are taken in the order in which they come, by
    any number of threads. An answer goes on being written while nobody reads it.
    """

    def __init__(self) -> None:
        self._inherited: WorkerProcess | None = None
        self._process: WorkerProcess | None = None
        self._loaded: Path | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The id of the running process, if there is one."""
        process = self._process
        return process.pid if process and process.usable else None

    @property
    def loaded(self) -> Path | None:
        """The file of the model that the process holds."""
        return self._loaded if self.pid else None

    def generate(
        self, request: GenerationRequest, stop: Stop, *, on_status: OnStatus = ignore_status
    ) -> Iterator[Event]:
        """See :meth:`phi_magic.generation.backend.Backend.generate`."""
        return self._generate([request], stop, on_status)

    def generate_many(
        self,
        requests: Sequence[GenerationRequest],
        stop: Stop,
        *,
        keep_errors: bool = False,
        on_status: OnStatus = ignore_status,
    ) -> Iterator[Event]:
        """See :meth:`phi_magic.generation.backend.Backend.generate_many`."""
        return self._generate(requests, stop, on_status, together=True, keep_errors=keep_errors)

    def look(
        self,
        request: GenerationRequest,
        stop: Stop,
        *,
        before: Position | None = None,
        on_status: OnStatus = ignore_status,
    ) -> Position:
        """See :meth:`phi_magic.generation.backend.Backend.look`."""
        import numpy as np

        model, file = self._found(request.model, stop)
        asked = replace(request, model=model)
        result = self._result(lambda number: Look(number, asked, before is None), stop, on_status)
        self._loaded = file.path
        return Position(
            request.begin,
            np.frombuffer(result.logits, dtype=np.float32),
            before.names if before else result.names,
            before.ends if before else frozenset(result.ends),
        )

    def tokenize(self, model: ModelReference, text: str, stop: Stop) -> list[TokenText]:
        """See :meth:`phi_magic.generation.backend.Backend.tokenize`."""
        found, file = self._found(model, stop)
        tokens = self._result(lambda number: Tokenize(number, found, text), stop).tokens
        self._loaded = file.path
        return tokens

    def load(self, model: ModelReference, stop: Stop, *, on_status: OnStatus = ignore_status) -> None:
        """See :meth:`phi_magic.generation.backend.Backend.load`."""
        found, file = self._found(model, stop)
        self._result(lambda number: Load(number, found), stop, on_status)
        self._loaded = file.path

    def describe(self, model: ModelReference, n_ctx: int, stop: Stop) -> ModelInfo:
        """See :meth:`phi_magic.generation.backend.Backend.describe`; nothing is downloaded."""
        found = model if model.path else replace(model, path=str(resolve(model.name, download=False).path))
        info = self._result(lambda number: Describe(number, found, n_ctx), stop).info
        if info is None:
            raise RuntimeError("the worker described nothing")
        return info

    def unload(self, stop: Stop) -> None:
        """Free the model by ending the process, once the answers that are being written are whole."""
        process = self._process
        if process is None or not process.usable:
            return
        try:
            for _ in process.call(Unload, stop):
                pass
        except (Retired, WorkerEnded):
            pass  # it has ended already
        process.close()

    def close(self) -> None:
        """End the process, whatever it is doing."""
        process = self._process
        if process and process.usable:
            process.close()

    def _forget(self) -> None:
        """Start again in a forked child: the process is its parent's, and the lock may be held by a thread of it."""
        self._inherited = self._process  # keep a reference: subprocess warns when an unfinished process is deleted
        self._process = self._loaded = None
        self._lock = threading.Lock()

    def _running(self) -> WorkerProcess:
        with self._lock:
            if self._process is None or not self._process.usable:
                self._loaded = None
                self._process = WorkerProcess()
            return self._process

    def _messages(self, make: Callable[[int], Call], stop: Stop, on_status: OnStatus) -> Iterator[WorkerMessage]:
        """The messages of one call; a process that had just retired is replaced."""
        while True:
            process = self._running()
            if process.busy:
                on_status("waiting for another answer to end")
            try:
                yield from process.call(make, stop)
                return
            except Retired:
                continue

    def _result(self, make: Callable[[int], Call], stop: Stop, on_status: OnStatus = ignore_status) -> Result:
        """The result of a call that has one."""
        for message in self._messages(make, stop, on_status):
            if isinstance(message, Status):
                on_status(message.text)
            elif isinstance(message, Result):
                return message
        raise RuntimeError("the worker gave no result")

    def _generate(
        self, requests: Sequence[GenerationRequest], stop: Stop, on_status: OnStatus, **how: bool
    ) -> Iterator[Event]:
        found = {model: self._found(model, stop) for model in dict.fromkeys(request.model for request in requests)}
        files = [found[request.model][1] for request in requests]
        call = Generate.of((replace(request, model=found[request.model][0]) for request in requests), **how)
        del requests  # what was asked is freed when the caller lets go of it
        for message in self._messages(lambda number: msgspec.structs.replace(call, id=number), stop, on_status):
            if isinstance(message, Status):
                on_status(message.text)
            elif isinstance(message, Events):
                for event in message.events:
                    if isinstance(event, Started):
                        file = files[event.index]
                        self._loaded = file.path
                        yield msgspec.structs.replace(event, path=str(file.path), model_sha256=file.sha256)
                    else:
                        yield event

    def _found(self, model: ModelReference, stop: Stop) -> tuple[ModelReference, ModelFile]:
        """The model's file, downloaded if need be, while the worker process starts beside it."""
        stop.check()
        with stop.interrupt_at_once():
            file = resolve(model.name, check=stop.check)
        return replace(model, path=str(file.path)), file


#: All ``Phi`` of a process share one worker, and so one loaded model.
shared = Worker()
atexit.register(shared.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=shared._forget)  # noqa: SLF001 (nobody else's to call)
