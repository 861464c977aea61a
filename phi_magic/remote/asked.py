"""One server that is asked: the way to it, which of its models is meant, and its answers to single requests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import PhiError
from ..generation.backend import Event, Step
from ..generation.request import GenerationRequest
from ..position import Position
from .address import Address, parse
from .answers import events
from .client import Client
from .given import begun, choose, score
from .named import look
from .native import Native
from .servers import Server, forget, identify
from .vllm import Evaluation


@dataclass(frozen=True)
class Asked:
    """A server, the way to it, and which of its models is asked."""

    client: Client
    address: Address
    server: Server
    model: str

    @property
    def native(self) -> Native:
        """The paths that only a llama-server has."""
        return Native(self.client, self.address, self.model)

    async def answer(
        self, request: GenerationRequest, index: int, spells: Callable[[], Awaitable[bool]]
    ) -> AsyncGenerator[Event, None]:
        """Yield the events of an answer; ``spells`` tells whether a message may spell a control token."""
        dialect = self.server.dialect
        prompt: list[int] | None = None
        beginning: list[Step] = []
        if request.choices or request.given is not None:
            async for event in self._evaluated(request, index):
                yield event
            return
        if dialect.tokens:
            native = self.native
            # where no message spells a control token, the server can read the messages as they are
            if request.raw or request.begin or await spells():
                prompt = await native.prompt(request)
            if prompt and request.begin:
                beginning = await begun(native, request, prompt)
                prompt += request.begin
        if prompt is None:
            path, body = dialect.request(request, self.model)
        else:
            path, body = "/completions", dialect.completion(request, self.model, prompt)
        said = False
        async with aclosing(self.client.stream(self.address.base + path, body, tokens=request.max_tokens)) as pieces:
            try:
                async for event in events(
                    pieces, request, self.server, self.model, base=self.address.base, index=index, begun=beginning
                ):
                    said = True
                    yield event
            except PhiError:
                if dialect.refuses_silently and not said:
                    await self._hear_why(path, body)
                raise

    async def look(self, request: GenerationRequest, before: Position | None) -> Position:
        """See :meth:`phi_magic.generation.backend.Backend.look`."""
        if not self.server.dialect.tokens:
            return await look(self.client, self.server, self.model, request, before)
        native, server = self.native, self.server
        if not server.models.get(self.model, {}).get("meta"):  # it tells of a model that it has loaded
            await native.tokenize("")
            server = await identify(self.client, self.address, anew=True)
        return await native.look(request, server.vocabulary(self.model))

    async def _hear_why(self, path: str, body: Mapping[str, Any]) -> None:
        """Send a request again without a stream, of the shortest answer.

        Raises:
            PhiError: what the server says against the request.
        """
        short = {**body, "stream": False, "max_tokens": 1}
        # once more where the connection closes, as it does after such a stream
        await self.client.post(self.address.base + path, short, dict[str, Any], patience=1)

    def _evaluated(self, request: GenerationRequest, index: int) -> AsyncIterator[Event]:
        if not self.server.dialect.tokens:
            evaluation = Evaluation(self.client, self.address, self.server, self.model, request)
            return evaluation.choose(index) if request.choices else evaluation.score(index)
        evaluate = choose if request.choices else score
        return evaluate(self.native, request, self.server, self.model, index=index)


@asynccontextmanager
async def connected(name: str, tell: Callable[[str], None], *, anew: bool = False) -> AsyncIterator[Asked]:
    """Connect to the server that a model's name gives. After any error the server is identified anew the next time."""
    address = parse(name)
    try:
        async with Client(address, tell) as client:
            server = await identify(client, address, anew=anew)
            yield Asked(client, address, server, server.model(address))
    except PhiError:
        forget(address)
        raise
