"""llama.cpp behind the contract of a backend: one model with one context, for one caller at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..generation.backend import Event, ModelInfo, OnStatus, TokenText, ignore_status
from ..generation.request import GenerationRequest, ModelReference, present
from ..gguf.checks import read_header
from ..interrupt import Stop
from ..models.files import resolve
from ..position import Position
from .answer import look, write
from .answers import write_all
from .description import describe
from .given import evaluate
from .runtime import Runtime


class Engine(Runtime):
    """A :class:`~phi_magic.generation.backend.Backend` that runs llama.cpp in its own process.

    It is not thread-safe: the worker process has one thread that uses it. Free it with :meth:`unload`.
    """

    def generate(
        self, request: GenerationRequest, stop: Stop, *, on_status: OnStatus = ignore_status
    ) -> Iterator[Event]:
        """See :meth:`phi_magic.generation.backend.Backend.generate`."""
        request = request.dated()
        if request.given is not None:
            return evaluate(self, request, stop, on_status=on_status)
        if request.choices:
            return write_all(self, [request], stop, on_status=on_status)
        return write(self, request, stop, on_status=on_status)

    def generate_many(
        self,
        requests: Sequence[GenerationRequest],
        stop: Stop,
        *,
        keep_errors: bool = False,
        on_status: OnStatus = ignore_status,
    ) -> Iterator[Event]:
        """See :meth:`phi_magic.generation.backend.Backend.generate_many`."""
        now = present()
        dated = [request.dated(now) for request in requests]
        return write_all(self, dated, stop, keep_errors=keep_errors, on_status=on_status)

    def look(
        self,
        request: GenerationRequest,
        stop: Stop,
        *,
        before: Position | None = None,
        on_status: OnStatus = ignore_status,
    ) -> Position:
        """See :meth:`phi_magic.generation.backend.Backend.look`."""
        return look(self, request.dated(), stop, before=before, on_status=on_status)

    def tokenize(self, model: ModelReference, text: str, stop: Stop) -> list[TokenText]:
        """See :meth:`phi_magic.generation.backend.Backend.tokenize`."""
        self.load(model, stop)
        loaded, _ = self.loaded
        with self.bound("cutting the text into tokens"):
            ids = loaded.tokens_within(text)
        return [TokenText(token, loaded.name(token), loaded.piece(token)) for token in ids]

    def describe(self, model: ModelReference, n_ctx: int, stop: Stop) -> ModelInfo:
        """See :meth:`phi_magic.generation.backend.Backend.describe`."""
        path = Path(model.path) if model.path else resolve(model.name, download=False).path
        with self.bound("reading the file's head"):
            header = read_header(path)
        return describe(header, self.plan(model, header), n_ctx)
