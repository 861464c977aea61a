"""Which backend a model's name means: the one place that decides it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .errors import PhiError
from .generation.request import is_address

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from .generation.backend import Backend
    from .generation.request import ModelReference


def backend_of(
    models: Iterable[ModelReference],
    *,
    backend: Backend | None = None,
    executor: Executor | None = None,
    cache: str = "",
) -> Backend:
    """Return what answers for models: servers, or the worker process where no server is named.

    Args:
        backend: what answers instead.
        executor: what runs many requests, on its processes.
        cache: where answers are kept, as the setting says it; empty: nowhere.

    Raises:
        PhiError: some are on a server, and some on this machine; or the cache cannot be used.
    """
    found = backend or _backend_of(models)
    if executor is not None:
        from .generation.executor import Distributed

        found = Distributed(executor, found, backend_of)
    if not cache:
        return found
    from .generation.cache import Cached
    from .generation.store import opened

    return Cached(found, opened(cache))


def _backend_of(models: Iterable[ModelReference]) -> Backend:
    servers = {is_address(model.name) for model in models}
    if len(servers) > 1:
        raise PhiError("some of these questions name a server's model, some one on this machine: ask them apart")
    if True in servers:
        from .remote.remote import shared as remote

        return remote
    from .generation.worker import shared as worker

    return worker
