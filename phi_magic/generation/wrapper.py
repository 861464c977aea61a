"""What the backends have in common that stand in front of another one."""

from __future__ import annotations

from collections.abc import Iterator

from ..interrupt import Stop
from ..position import Position
from .backend import Backend, Event, ModelInfo, OnStatus, TokenText, ignore_status
from .request import GenerationRequest, ModelReference


class BackendWrapper:
    """Passes calls on to another backend; a subclass says which it answers otherwise, and how it answers many requests."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def generate(
        self, request: GenerationRequest, stop: Stop, *, on_status: OnStatus = ignore_status
    ) -> Iterator[Event]:
        """See :meth:`phi_magic.generation.backend.Backend.generate`."""
        return self._backend.generate(request, stop, on_status=on_status)

    def look(
        self,
        request: GenerationRequest,
        stop: Stop,
        *,
        before: Position | None = None,
        on_status: OnStatus = ignore_status,
    ) -> Position:
        """See :meth:`phi_magic.generation.backend.Backend.look`."""
        return self._backend.look(request, stop, before=before, on_status=on_status)

    def tokenize(self, model: ModelReference, text: str, stop: Stop) -> list[TokenText]:
        """See :meth:`phi_magic.generation.backend.Backend.tokenize`."""
        return self._backend.tokenize(model, text, stop)

    def load(self, model: ModelReference, stop: Stop, *, on_status: OnStatus = ignore_status) -> None:
        """See :meth:`phi_magic.generation.backend.Backend.load`."""
        self._backend.load(model, stop, on_status=on_status)

    def describe(self, model: ModelReference, n_ctx: int, stop: Stop) -> ModelInfo:
        """See :meth:`phi_magic.generation.backend.Backend.describe`."""
        return self._backend.describe(model, n_ctx, stop)

    def unload(self, stop: Stop) -> None:
        """See :meth:`phi_magic.generation.backend.Backend.unload`."""
        self._backend.unload(stop)
