"""What a model is asked, as plain data: it can be pickled, compared, hashed, sent and written down.

A request says what is wanted. Finding the model's file and choosing the plan happen where the request is executed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import NamedTuple

from ..errors import PhiError, wrong_type
from ..parameters import SamplingParameters
from ..reply import Message, Token
from .plan import Plan

MAX_REASONING = 4096  #: tokens of thoughts, where nobody says how many


class ChatMessage(NamedTuple):
    """One message of a conversation; ``role`` is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str

    def to_dict(self) -> Message:
        """Return the message as chat templates and ``Reply.messages`` hold it."""
        return {"role": self.role, "content": self.content}


def present() -> str:
    """Return the date and time as a request has them."""
    return datetime.now().isoformat(timespec="seconds")  # noqa: DTZ005 (local time, as transformers has it)


def is_address(model: str) -> bool:
    """Whether the name of a model names a server rather than a file."""
    return model.lower().startswith(("http://", "https://"))


@dataclass(frozen=True)
class ModelReference:
    """Which model, and how it is run.

    Attributes:
        name: as the ``model`` trait takes it.
        path: the model's file on this machine, where the caller has found it already; else empty.
        profile: ``auto``, ``speed`` or ``memory``.
        n_threads: processor threads; 0: one for each physical core.
        n_gpu_layers: layers that a GPU computes; -1: all that fit.
        plan: a recorded plan to follow, instead of the one that suits the machine.
        keep_alive: seconds without a request until the model is freed; negative: never.
        in_flight: how many requests of a map a server is sent at the same time.
    """

    name: str
    path: str = ""
    profile: str = "auto"
    n_threads: int = 0
    n_gpu_layers: int = -1
    plan: Plan | None = None
    keep_alive: float = -1
    in_flight: int = 8


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One question.

    Attributes:
        model: which model, and how it is run.
        messages: the conversation, the system message first where there is one, the question last.
        sampling: how tokens are drawn.
        seed: where the draws begin.
        max_tokens: the longest answer, in tokens.
        max_reasoning: the most tokens of a reasoning model's thoughts, which ``max_tokens`` does not count.
        stop: texts that end the answer; it ends before the first of them.
        n_ctx: the most tokens that prompt and answer may have together.
        exact: whether the logits must be the same as in a fresh context.
        raw: send the messages without the chat template, and honour special tokens in them.
        schema: JSON Schema, as text, that the answer is constrained to.
        choices: the texts of which the answer is one: each one's probability is computed, after a reasoning model's thoughts.
        now: the date and time, in ISO 8601, that a chat template writes into the prompt if it asks for them; empty: the
            present, in local time.
        given: an answer to evaluate instead of writing one: its tokens get the records that drawn ones have.
        begin: token ids that the answer begins with, whatever would have been drawn.
        top_logprobs: how many of the likeliest tokens are recorded at every step.
        known: records of the first tokens of ``begin``, taken from another answer to the same question. A backend
            may use them instead of evaluating these tokens again.
        continues: whether another question is likely to follow in this conversation.
        ends_after: end the answer, as an interrupt does, after so many tokens; 0: nowhere. ``max_tokens`` alone says how
            much room the answer is given.
        identify: whether the answer ends only when the SHA-256 of the model's file is known.
    """

    model: ModelReference
    messages: tuple[ChatMessage, ...]
    sampling: SamplingParameters
    seed: int
    max_tokens: int
    max_reasoning: int = MAX_REASONING
    stop: tuple[str, ...] = ()
    n_ctx: int = 4096
    exact: bool = True
    raw: bool = False
    schema: str | None = None
    choices: tuple[str, ...] = ()
    given: str | None = None
    now: str = ""
    ends_after: int = 0
    begin: tuple[int, ...] = ()
    top_logprobs: int = 0
    known: tuple[Token, ...] = ()
    continues: bool = False
    identify: bool = True

    def dated(self, now: str = "") -> GenerationRequest:
        """The request with a date, where it has none: ``now``, or the present; so all of it is rendered at one time."""
        return self if self.now else replace(self, now=now or present())

    def canonical(self) -> bytes:
        """Return the canonical form of everything that the answer can depend on, as JSON with sorted keys.

        Hints that change how fast or where an answer is made are left out: two requests with the same canonical form
        have the same answer on the same machine, with the same model file.
        """
        import msgspec

        model = replace(self.model, path="", n_threads=0, keep_alive=-1, in_flight=1)
        if model.plan:
            model = replace(model, plan=replace(model.plan, n_threads=0, mmap=True))
        plain = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in _HINTS}
        return msgspec.json.encode({**plain, "model": model}, order="deterministic")

    def check(self) -> None:
        """Check that every field has the type that it is declared with, as the worker process does.

        Raises:
            PhiError: one has not.
        """
        import msgspec

        plain = replace(self, model=replace(self.model, name=""))  # a path need not be UTF-8: finding it says so
        try:
            msgspec.msgpack.decode(msgspec.msgpack.encode(plain), type=GenerationRequest)
        except (TypeError, ValueError, OverflowError) as error:  # msgspec's own error is a ValueError
            raise PhiError(wrong_type(error)) from None

    def digest(self) -> str:
        """Return the SHA-256 of :meth:`canonical`, in hexadecimal."""
        return hashlib.sha256(self.canonical()).hexdigest()


_HINTS = {"known", "continues", "identify"}
