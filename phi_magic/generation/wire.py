"""The messages between the kernel and the worker process, encoded as MessagePack.

Pickle is not used, because the worker process reads files from elsewhere: MessagePack is decoded as data of the
declared types, and can run nothing in the kernel. Steps are sent in groups where tokens come faster than a display
redraws.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeAlias

import msgspec

from .backend import Event, ModelInfo, TokenText
from .request import ChatMessage, GenerationRequest, ModelReference


class Own(msgspec.Struct, frozen=True, array_like=True):
    """What a request has for itself: the content of its last message and its seed. ``common`` is the number of the rest."""

    common: int
    content: str
    seed: int


class Generate(msgspec.Struct, frozen=True, tag=True):
    """Answer requests: one by itself, or many together.

    What requests have in common is sent and held once: the rows of a table differ in little.
    """

    id: int
    common: list[GenerationRequest]
    own: list[Own]
    together: bool = False
    keep_errors: bool = False

    @classmethod
    def of(
        cls, requests: Iterable[GenerationRequest], *, together: bool = False, keep_errors: bool = False
    ) -> Generate:
        """Return the call for some requests, still without its number."""
        common: dict[GenerationRequest, int] = {}
        own = []
        for request in requests:
            *before, last = request.messages
            rest = replace(request, messages=(*before, ChatMessage(last.role, "")), seed=0)
            own.append(Own(common.setdefault(rest, len(common)), last.content, request.seed))
        return cls(0, list(common), own, together, keep_errors)

    @property
    def requests(self) -> list[GenerationRequest]:
        """The requests as they were."""
        made = []
        for one in self.own:
            rest = self.common[one.common]
            *before, last = rest.messages
            made.append(replace(rest, messages=(*before, ChatMessage(last.role, one.content)), seed=one.seed))
        return made


class Look(msgspec.Struct, frozen=True, tag=True):
    """Give the logits at a position, and the vocabulary's names where they are asked for."""

    id: int
    request: GenerationRequest
    names: bool = True


class Tokenize(msgspec.Struct, frozen=True, tag=True):
    """Cut a text into tokens."""

    id: int
    model: ModelReference
    text: str


class Load(msgspec.Struct, frozen=True, tag=True):
    """Load a model."""

    id: int
    model: ModelReference


class Describe(msgspec.Struct, frozen=True, tag=True):
    """Tell what is known of a model."""

    id: int
    model: ModelReference
    n_ctx: int


class Unload(msgspec.Struct, frozen=True, tag=True):
    """End, once what was asked for before is done."""

    id: int


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """Stop a call; it still ends with its last message."""

    id: int


Call: TypeAlias = Generate | Look | Tokenize | Load | Describe | Unload


class Begun(msgspec.Struct, frozen=True, tag=True):
    """The first message of a call: if the process ends from now on, this call may be the reason."""

    id: int


class Status(msgspec.Struct, frozen=True, tag=True):
    """What is going on."""

    id: int
    text: str


class Events(msgspec.Struct, frozen=True, tag=True):
    """Some events of a :class:`Generate`, in order."""

    id: int
    events: list[Event]


class Result(msgspec.Struct, frozen=True, tag=True):
    """The last message of a call that succeeded, with what it asked for.

    ``logits`` are 32-bit floats in the machine's byte order.
    """

    id: int
    logits: bytes = b""
    names: list[str] = []
    ends: list[int] = []
    tokens: list[TokenText] = []
    info: ModelInfo | None = None


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The last message of a call that failed.

    ``interrupted`` says that it was stopped; ``context`` is set for a prompt of ``tokens`` tokens that is too long for
    it; ``refused`` says why of each of ``count`` requests that cannot be asked; ``traceback`` is that of a programming
    error.
    """

    id: int
    error: str = ""
    interrupted: bool = False
    tokens: int = 0
    context: int = 0
    refused: dict[int, str] = {}
    count: int = 0
    traceback: str = ""


WorkerMessage: TypeAlias = Begun | Status | Events | Result | Failed

_encoder = msgspec.msgpack.Encoder()
decode_call = msgspec.msgpack.Decoder(Call | Cancel).decode
decode_message = msgspec.msgpack.Decoder(WorkerMessage).decode


def encode(message: Call | Cancel | WorkerMessage) -> bytes:
    """Return a message as bytes; ``decode_call`` and ``decode_message`` read them on the other side."""
    return _encoder.encode(message)
