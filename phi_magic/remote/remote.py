"""The backend that asks OpenAI-compatible servers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

from ..errors import PhiError, RowsRefused
from ..generation.backend import Event, Finished, ModelInfo, OnStatus, Started, TokenText, ignore_status
from ..generation.plan import Plan
from ..generation.request import GenerationRequest, ModelReference
from ..interrupt import Interrupted, Stop
from ..position import Position
from .address import parse
from .asked import Asked, connected
from .background import call, drive
from .client import Client
from .servers import Server, identify


@dataclass(frozen=True)
class _StatusText:
    text: str


Made = TypeVar("Made")
_GROUP = 64  # requests whose messages are looked at together
_Emit: TypeAlias = Callable[[Event | _StatusText], None]


class Remote:
    """A :class:`~phi_magic.generation.backend.Backend` of servers, each named by its model's name.

    Nothing is kept between calls but what kind each server is, for a minute.
    """

    def generate(
        self, request: GenerationRequest, stop: Stop, *, on_status: OnStatus = ignore_status
    ) -> Iterator[Event]:
        """See :meth:`phi_magic.generation.backend.Backend.generate`."""
        return self.generate_many([request], stop, on_status=on_status)

    def generate_many(
        self,
        requests: Sequence[GenerationRequest],
        stop: Stop,
        *,
        keep_errors: bool = False,
        on_status: OnStatus = ignore_status,
    ) -> Iterator[Event]:
        """See :meth:`phi_magic.generation.backend.Backend.generate_many`.

        As many requests are in flight as :attr:`~phi_magic.generation.request.ModelReference.in_flight` says, begun in
        their order.
        """

        def work(emit: _Emit) -> Coroutine[Any, Any, None]:
            return _answer_all(requests, emit, keep_errors=keep_errors)

        running: set[int] = set()
        try:
            for item in drive(work, stop):
                if isinstance(item, _StatusText):
                    on_status(item.text)
                    continue
                if isinstance(item, Started):
                    running.add(item.index)
                elif isinstance(item, Finished):
                    running.discard(item.index)
                yield item
        except Interrupted:
            if not running:
                raise
            for index in sorted(running):
                yield Finished(index=index, reason="interrupted", at=time.perf_counter())

    def look(
        self,
        request: GenerationRequest,
        stop: Stop,
        *,
        before: Position | None = None,
        on_status: OnStatus = ignore_status,
    ) -> Position:
        """See :meth:`phi_magic.generation.backend.Backend.look`; the tokens' names come with each position."""

        async def looked(asked: Asked) -> Position:
            return await asked.look(request, before)

        return _ask(request.model, looked, stop)

    def tokenize(self, model: ModelReference, text: str, stop: Stop) -> list[TokenText]:
        """See :meth:`phi_magic.generation.backend.Backend.tokenize`."""

        async def cut(asked: Asked) -> list[TokenText]:
            if not asked.server.dialect.tokens:
                raise PhiError(
                    f"{asked.server.dialect.name} cannot do this: llama-server alone cuts a text into tokens without "
                    "honouring control tokens in it"
                )
            return await asked.native.tokenize(text)

        return _ask(model, cut, stop)

    def load(self, model: ModelReference, stop: Stop, *, on_status: OnStatus = ignore_status) -> None:
        """Find out whether the server is there and has the model; it loads the model itself."""

        async def nothing(asked: Asked) -> None: ...

        _ask(model, nothing, stop, anew=True)

    def describe(self, model: ModelReference, n_ctx: int, stop: Stop) -> ModelInfo:
        """See :meth:`phi_magic.generation.backend.Backend.describe`; there is no file and no plan of ours."""

        async def described(asked: Asked) -> ModelInfo:
            about = asked.server.models.get(asked.model, {})
            facts = {
                "name": asked.model,
                "server": asked.server.dialect.name,
                "version": asked.server.version,
                "address": asked.address.base,
            }
            context = asked.server.context(asked.model)
            return ModelInfo("", 0, facts, _lines(about), Plan(0), 0, context, context, "")

        return _ask(model, described, stop, anew=True)

    def models(self, name: str, stop: Stop) -> Server:
        """Return what a server says of itself and its models, whichever of them the name names."""

        async def asked() -> Server:
            address = parse(name)
            async with Client(address, _silently) as client:
                return await identify(client, address, anew=True)

        return call(asked, stop)

    def unload(self, stop: Stop) -> None:
        """Do nothing: a server keeps its models as it likes."""


def _ask(
    model: ModelReference, work: Callable[[Asked], Coroutine[Any, Any, Made]], stop: Stop, *, anew: bool = False
) -> Made:
    """Return the result of a coroutine that needs a server."""

    async def run() -> Made:
        async with connected(model.name, _silently, anew=anew) as asked:
            return await work(asked)

    return call(run, stop)


async def _answer_all(requests: Sequence[GenerationRequest], emit: _Emit, *, keep_errors: bool) -> None:
    """Answer requests, some of them at the same time; the first error ends all, unless errors are kept."""

    def tell(text: str) -> None:
        emit(_StatusText(text))

    async with AsyncExitStack() as stack:
        servers: dict[str, Asked] = {}
        for name in dict.fromkeys(request.model.name for request in requests):
            servers[name] = await stack.enter_async_context(connected(name, tell))
        refused: dict[int, PhiError] = {}
        for index, request in enumerate(requests):
            try:
                servers[request.model.name].server.check(request)
            except PhiError as error:
                refused[index] = error
        if refused and not keep_errors:
            raise RowsRefused({index: str(error) for index, error in refused.items()}, len(requests))
        waiting = iter(enumerate(requests))
        spells = _looks(requests, servers)

        async def work() -> None:
            for index, request in waiting:
                try:
                    if index in refused:
                        raise refused[index]
                    answering = servers[request.model.name].answer(request, index, partial(spells, index))
                    async with aclosing(answering) as answer:
                        async for event in answer:
                            emit(event)
                except PhiError as error:
                    if not keep_errors:
                        raise
                    emit(Finished(index, "error", at=time.perf_counter(), error=str(error)))

        at_once = all(asked.server.dialect.at_once for asked in servers.values())
        tasks = [asyncio.create_task(work()) for _ in range(requests[0].model.in_flight if at_once else 1)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _looks(
    requests: Sequence[GenerationRequest], servers: Mapping[str, Asked]
) -> Callable[[int], Coroutine[Any, Any, bool]]:
    """Tell of a llama-server's request whether its messages may spell a control token.

    Many requests of one server are looked at together, and each alone where one of them does.
    """
    looks: dict[tuple[str, int], asyncio.Task[bool]] = {}

    async def spells(index: int) -> bool:
        name, first = requests[index].model.name, index // _GROUP * _GROUP
        native, key = servers[name].native, (name, first)
        if key not in looks:
            group = [one for one in requests[first : first + _GROUP] if one.model.name == name]
            looks[key] = asyncio.create_task(native.spells(group))
        try:
            any_spells = await looks[key]
        except PhiError:
            looks.pop(key, None)  # it is tried again for the next request
            raise
        return any_spells and (len(requests) == 1 or await native.spells([requests[index]]))

    return spells


def _silently(text: str) -> None:
    """Tell nobody."""


def _lines(about: dict[str, Any]) -> dict[str, str]:
    """What a server says of a model, each value as a line of text."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()}


#: All ``Phi`` of a process share it.
shared = Remote()
