"""Which server it is, its version and its models: found by asking."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..errors import PhiError
from ..generation.request import GenerationRequest
from ..parameters import SamplingParameters
from ..suggestions import did_you_mean
from .address import Address
from .client import GLANCE, Client, Refused
from .dialects import LLAMA_CPP_SERVER, LLAMA_SERVER, LM_STUDIO, OLLAMA, UNKNOWN, VLLM, Dialect

_REMEMBERED = 60.0  # seconds that a server is taken for what it was
_LISTED = 20  # models named in an error
_LARGEST = 1 << 22  # tokens of a vocabulary; the largest published ones have a sixteenth of it


@dataclass(frozen=True)
class Server:
    """A server as it showed itself.

    Attributes:
        dialect: which kind it is.
        version: as it calls it, empty where it does not say.
        models: what it says of each of its models, by name.
        properties: what llama-server says of the model that it has loaded.
    """

    dialect: Dialect
    version: str = ""
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    properties: dict[str, Any] = field(default_factory=dict)

    def model(self, address: Address) -> str:
        """The name of the model that an address means.

        Raises:
            PhiError: there is no such model, or the address does not say which.
        """
        names = list(self.models)
        listed = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
        if not address.name:
            if len(names) == 1:
                return names[0]
            what = f"there are {listed}" if names else "the server names none"
            raise PhiError(f"{address.base}: which model? {what}; write {address.base}#NAME")
        if names and address.name not in names and f"{address.name}:latest" not in names:
            raise PhiError(
                f"{address.base}: no model {address.name}{did_you_mean(address.name, names)} (there are {listed})"
            )
        return address.name

    def check(self, request: GenerationRequest) -> None:
        """Refuse what this server would ignore, or cannot do.

        Raises:
            PhiError: in one line, which setting, and what to do.
        """
        self.dialect.check(request)
        since = self.dialect.logprobs_since
        if request.top_logprobs and since and 0 < len(number := _number(self.version)) and number < since:
            raise PhiError(
                f"{self.dialect.name} gives log-probabilities from version {'.'.join(map(str, since))} on, and this is "
                f"{self.version}: bring it up to date, or leave out -f tokens and --top-logprobs"
            )

    def context(self, model: str) -> int:
        """Tokens of a model's context, 0 where the server does not say."""
        about = self.models.get(model, {})
        said = (
            _member(self.properties.get("default_generation_settings"), "n_ctx"),  # 0 where it has several models
            _member(about.get("meta"), "n_ctx"),
            about.get("max_model_len"),
            about.get("max_context_length"),
        )
        return next((size for size in said if isinstance(size, int) and size > 0), 0)

    def vocabulary(self, model: str) -> int:
        """Tokens of a model's vocabulary, as llama-server tells.

        Raises:
            PhiError: it tells no number that could be it.
        """
        size = _member(self.models.get(model, {}).get("meta"), "n_vocab")
        if not isinstance(size, int) or not 0 < size <= _LARGEST:
            raise PhiError(f"{self.dialect.name} does not tell how large its vocabulary is")
        return size

    def record(self, model: str, sampling: SamplingParameters) -> dict[str, Any]:
        """What ``Reply.engine`` says of an answer of this server."""
        ignored = self.dialect.ignored(sampling)
        return {
            "server": self.dialect.name,
            "version": self.version,
            "server_model": model,
            **({"ignored": ignored} if ignored else {}),
            **({} if self.dialect.usage else {"not_told": ["prompt_tokens", "cached_tokens"]}),
        }


#: What each of a server's own paths says, when it is that kind of server: its version.
_KINDS: dict[str, tuple[Dialect, Callable[[dict[str, Any]], Any]]] = {
    "/props": (LLAMA_SERVER, lambda said: "default_generation_settings" in said and said.get("build_info", "")),
    "/openapi.json": (
        LLAMA_CPP_SERVER,
        lambda said: "llama.cpp Python" in said["info"]["title"] and said["info"]["version"],
    ),
    "/api/v0/models": (LM_STUDIO, lambda said: isinstance(said["data"], list) and ""),
    "/api/version": (OLLAMA, lambda said: said["version"]),
    "/version": (VLLM, lambda said: said["version"]),
}
_remembered: dict[str, tuple[Server, float]] = {}


async def identify(client: Client, address: Address, *, anew: bool = False) -> Server:
    """Ask a server what it is; what it said within the last minute is not asked again.

    Args:
        anew: ask even where the server is remembered.

    Raises:
        PhiError: there is no server, or none that is OpenAI-compatible.
    """
    server, asked = _remembered.get(address.base, (None, 0.0))
    if server is None or anew or time.monotonic() - asked > _REMEMBERED:
        forget(address)
        server = await _ask(client, address)
        _remembered[address.base] = server, time.monotonic()
    return server


def forget(address: Address) -> None:
    """Identify a server again the next time, since a request to it has failed."""
    _remembered.pop(address.base, None)


async def _ask(client: Client, address: Address) -> Server:
    models = await _models(client, address)
    told = await asyncio.gather(*(_said(client, address.root + path) for path in _KINDS))
    for (dialect, version), said in zip(_KINDS.values(), told, strict=True):
        try:
            found = version(said)
        except (KeyError, TypeError):
            continue
        if isinstance(found, str):
            return Server(dialect, found, models, said if dialect is LLAMA_SERVER else {})
    return Server(UNKNOWN, "", models)


async def _models(client: Client, address: Address) -> dict[str, dict[str, Any]]:
    """What the server says of its models; nothing where it has no list."""
    try:
        said = await client.get(f"{address.base}/models")
        models = said["data"] or ()
        return {str(model["id"]): dict(model) for model in models}
    except Refused as refused:
        if refused.status not in {404, 405, 501} or not address.name:
            raise
        return {}
    except (KeyError, TypeError, ValueError):
        raise PhiError(f"{address.base}: its list of models is none; is the address right?") from None


async def _said(client: Client, url: str) -> Any:
    """What a server says at one of its own paths; None where it has no such path."""
    try:
        return await client.get(url, patience=0, silence=GLANCE)
    except PhiError:
        return None


def _member(said: Any, name: str) -> Any:
    """A member of what a server says, None where it says something else than an object."""
    return said.get(name) if isinstance(said, dict) else None


def _number(version: str) -> tuple[int, ...]:
    """A version's numbers; none where it is not made of numbers."""
    parts = version.split(".")
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()
