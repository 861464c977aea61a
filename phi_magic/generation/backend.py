"""The contract between those who ask and those who answer.

A backend takes requests (:mod:`.request`) and gives events. Three are built in: the engine
(:class:`phi_magic.engine.engine.Engine`), which runs llama.cpp in its own process, the worker
(:class:`phi_magic.generation.worker.Worker`), which starts a process that runs the engine, and servers
(:class:`phi_magic.remote.remote.Remote`). :mod:`phi_magic.backends` says which of the last two ``Phi`` uses for a model.

To write another one, implement :class:`Backend`. For every request, :meth:`Backend.generate` yields

1. one :class:`Started`, when the prompt has been evaluated;
2. one :class:`Step` for each token, in order; a backend that knows no tokens gives text alone;
3. one :class:`Finished`, whatever ended the answer. A stop ends it with ``interrupted``, and keeps what came before.

It raises :class:`~phi_magic.errors.PhiError`, one line, where a request cannot be answered. A caller that needs no more
closes the generator, and the backend stops working for it. :mod:`.record` makes a ``Reply`` of the events, the same way
for every backend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

import msgspec

from ..interrupt import Stop
from ..position import Position
from ..reply import FinishReason, Token, Usage
from .plan import Plan
from .request import GenerationRequest, ModelReference

OnStatus: TypeAlias = Callable[[str], None]


def ignore_status(text: str) -> None:
    """Take no notice of what goes on before the first token."""


class Started(msgspec.Struct, frozen=True, tag=True):
    """The prompt has been evaluated.

    Attributes:
        index: which request, counted from 0.
        prompt_tokens: tokens of the prompt.
        cached_tokens: how many of them were in the KV cache already.
        load: seconds that loading the model took.
        prompt: seconds that evaluating the prompt took.
        engine: the plan, and the kind of pass where it is not the usual one; ``Reply.engine``.
        left_out: how many of the oldest turns were left out for want of room.
        path: the model's file on this machine, where it is there.
        model_sha256: the hash of that file, where it is known.
        from_cache: whether the answer was made before, and kept.
    """

    index: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    load: float = 0.0
    prompt: float = 0.0
    engine: dict[str, Any] = {}
    left_out: int = 0
    path: str = ""
    model_sha256: str | None = None
    from_cache: bool = False


class Step(msgspec.Struct, frozen=True, tag=True):
    """A token was written.

    Attributes:
        index: which request.
        token: its record; None where a backend gives text alone.
        text: what became certain by it, often nothing: a character or a stop text may be incomplete.
        at: when it was drawn, by ``time.perf_counter``, which all processes of a machine share.
        drawn: false for a token whose record was known before.
        reasoning: what the model thought before it answers; no part of ``text``.
        thoughts: how many of the answer's tokens so far are thoughts, their tags included.
    """

    index: int = 0
    token: Token | None = None
    text: str = ""
    at: float = 0.0
    drawn: bool = True
    reasoning: str = ""
    thoughts: int = 0


class Finished(msgspec.Struct, frozen=True, tag=True):
    """The answer is over.

    Attributes:
        index: which request.
        reason: why it ended.
        text: text that had been waiting to become certain.
        reasoning: thoughts that had been waiting to become certain.
        at: when, by ``time.perf_counter``.
        choices: the probability of each of the request's choices; they sum to 1.
        error: why the request has no answer, or no whole one; ``reason`` is ``error`` then.
        usage: counts of tokens that are told at the end, instead of those of :class:`Started` and of the steps.
    """

    index: int = 0
    reason: FinishReason = "interrupted"
    text: str = ""
    at: float = 0.0
    reasoning: str = ""
    choices: dict[str, float] = {}
    error: str = ""
    usage: Usage | None = None


Event: TypeAlias = Started | Step | Finished


class ModelInfo(msgspec.Struct, frozen=True):
    """What is known of a model without loading it.

    Attributes:
        path: its file.
        size: bytes of the file.
        facts: what the file says of itself, by name, in the order in which it is shown.
        metadata: all of the file's metadata, each value as a line of text.
        plan: how this machine would run it.
        memory: bytes that it takes with the context asked for.
        n_ctx: tokens of that context.
        context_length: tokens that the model was trained to see at once.
        quantisation: the name of the mixture of weight types.
    """

    path: str
    size: int
    facts: dict[str, str]
    metadata: dict[str, str]
    plan: Plan
    memory: int
    n_ctx: int
    context_length: int
    quantisation: str


class TokenText(msgspec.Struct, frozen=True):
    """A token of a text: its id, its name as :attr:`phi_magic.reply.Token.text` has it, and its bytes (``data``)."""

    id: int
    text: str
    data: bytes


class Backend(Protocol):
    """What answers requests; the module's docstring says how to write one.

    ``stop`` ends any call with :class:`~phi_magic.interrupt.Interrupted`, or with an interrupted answer. ``on_status``
    is told in a few words what is going on while there is nothing to show.
    """

    def generate(
        self, request: GenerationRequest, stop: Stop, *, on_status: OnStatus = ignore_status
    ) -> Iterator[Event]:
        """Answer one request."""

    def generate_many(
        self,
        requests: Sequence[GenerationRequest],
        stop: Stop,
        *,
        keep_errors: bool = False,
        on_status: OnStatus = ignore_status,
    ) -> Iterator[Event]:
        """Answer many requests together; ``index`` of an event says which one it is of.

        Every request is checked before the first one is answered.

        Args:
            keep_errors: end a request that cannot be answered with a :class:`Finished` that says why, and answer the
                others; else :class:`~phi_magic.errors.RowsRefused` is raised for all that cannot be asked.
        """

    def look(
        self,
        request: GenerationRequest,
        stop: Stop,
        *,
        before: Position | None = None,
        on_status: OnStatus = ignore_status,
    ) -> Position:
        """Return the logits after the prompt and ``request.begin``.

        Args:
            before: an earlier position with the same model, whose token names are used again.
        """

    def tokenize(self, model: ModelReference, text: str, stop: Stop) -> list[TokenText]:
        """Cut a text into tokens, without a beginning of sequence; no special token is honoured in it."""

    def load(self, model: ModelReference, stop: Stop, *, on_status: OnStatus = ignore_status) -> None:
        """Load a model now rather than with the first request."""

    def describe(self, model: ModelReference, n_ctx: int, stop: Stop) -> ModelInfo:
        """Return what is known of a model without loading it."""

    def unload(self, stop: Stop) -> None:
        """Free the model, once the answers that are being written are whole."""
