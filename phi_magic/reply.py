"""What an answer is, as plain data."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeAlias, TypedDict

FinishReason = Literal["stop", "length", "interrupted", "error"]


class Message(TypedDict):
    """One turn of a conversation; ``role`` is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str


#: What can be asked: a question, or a conversation as messages that end with the user's. A message's ``content`` may be
#: a list of parts too, as OpenAI's interface has it; their texts are joined.
Prompt: TypeAlias = str | Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Alternative:
    """A token that could have stood in a place, with its chances there."""

    id: int
    text: str
    logprob: float  #: natural logarithm of the model's own probability (temperature 1, nothing cut)
    probability: float  #: after penalty, temperature and truncation, which is what it was drawn from


@dataclass(frozen=True, slots=True)
class Token(Alternative):
    """One generated token. ``text`` is what it alone stands for, with the bytes of a split character as ``\\xNN``."""

    rank: int = 1  #: 1 for the model's likeliest
    top: tuple[Alternative, ...] = ()  #: the likeliest at this step, most likely first, when they were asked for


@dataclass(slots=True)
class Usage:
    """Counts of tokens."""

    prompt_tokens: int = 0
    cached_tokens: int = 0  #: of the prompt's, how many were already in the context
    completion_tokens: int = 0
    reasoning_tokens: int = 0  #: of the completion's, how many are thoughts


@dataclass(slots=True)
class Timings:
    """Seconds."""

    load: float = 0.0
    prompt: float = 0.0  #: prefill, the evaluation of the part of the prompt that the KV cache does not hold
    first_token: float = 0.0  #: from asking to the first token, loading included
    total: float = 0.0
    tokens_per_second: float = 0.0  #: of decoding, the prompt left out
    reasoning: float = 0.0  #: from the first token to the last one of the thoughts

    @property
    def speed(self) -> str:
        """``tokens_per_second`` in words, to three digits or to the whole token."""
        rate = self.tokens_per_second
        return f"{rate:,.0f} tokens/s" if rate >= 100 else f"{rate:.3g} tokens/s"


@dataclass
class Reply:
    """One answer: the text, what it was made with, and what it took.

    ``params`` holds every setting that shapes the text, so that the same ``prompt``, ``model``, ``params`` and
    ``seed`` give the same text on the same machine.
    """

    prompt: str
    model: str
    params: dict[str, Any]
    seed: int
    text: str = ""
    finish_reason: FinishReason = "interrupted"  # until the engine says otherwise
    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)
    tokens: list[Token] = field(default_factory=list, repr=False)
    reasoning: str = field(default="", repr=False)  #: what a reasoning model thought before it answered
    data: Any = None  #: the parsed JSON, where JSON was asked for; an instance where a schema came from a class
    choices: dict[str, float] = field(default_factory=dict)  #: the probability of each choice, where there were some
    messages: Sequence[Message] = field(default_factory=list, repr=False)  #: the conversation before the prompt
    left_out: int = 0  #: the oldest turns of ``messages`` that the context had no room for
    error: str = (
        ""  #: why ``data`` is None; of a row of a map, why it has no answer (``finish_reason`` is ``error`` then)
    )
    model_sha256: str | None = None
    from_cache: bool = field(default=False, repr=False, compare=False)  #: it was made before, and kept on disk
    engine: dict[str, Any] = field(default_factory=dict, repr=False)  #: what the machine's profile chose

    @property
    def begun(self) -> bool:
        """Whether the answer has a token, a text or an end yet."""
        return bool(self.usage.completion_tokens or self.text or self.finish_reason != "interrupted")

    @property
    def logprob(self) -> float:
        """The natural logarithm of the model's own probability of all tokens, one after another."""
        return sum(token.logprob for token in self.tokens)

    @property
    def perplexity(self) -> float:
        """The inverse of the geometric mean of the tokens' probabilities; NaN without tokens."""
        return math.exp(-self.logprob / len(self.tokens)) if self.tokens else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types: everything but the tokens, in the order of the fields, and the version that wrote it.

        A lone surrogate, which no file and no front end takes, is a question mark, as it is to the model.
        """
        from importlib.metadata import version

        plain = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "tokens"}
        plain["usage"], plain["timings"] = asdict(self.usage), asdict(self.timings)
        plain["data"], plain["messages"] = self._plain_data(), list(self.messages)
        if not self.messages:
            del plain["messages"], plain["left_out"]
        for name in ("choices", "error", "reasoning", "from_cache"):
            if not plain[name]:
                del plain[name]
        written: dict[str, Any] = sendable({**plain, "version": version("phi_magic")})
        return written

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Reply:
        """What :meth:`to_dict` gave, less the tokens; what else is in it is passed over.

        Raises:
            KeyError: something is missing.
            TypeError, ValueError: something is of another type, or has a value that it cannot have.
        """
        from msgspec import convert

        known = {item.name for item in fields(cls)} - {"tokens"}
        copied = deepcopy({name: value for name, value in plain.items() if name in known})
        if missing := {"text", "finish_reason", "usage", "timings"} - copied.keys():
            raise KeyError(*sorted(missing))
        reply = convert(copied, cls)
        if not isinstance(reply.engine.get("now", ""), str):
            raise TypeError("engine.now must be a text")
        return reply

    def stats(self) -> str:
        """One line: tokens, tokens per second, seconds to the first token, seed, finish."""
        count = self.usage.completion_tokens
        parts = [
            f"{count} token{'' if count == 1 else 's'}",
            self.timings.speed if self.timings.tokens_per_second else "",
            "from the cache" if self.from_cache else f"first after {self.timings.first_token:.2g} s" if count else "",
            self.thought(),
            f"seed {self.seed}",
            ", ".join(f"{name} {chance:.1%}" for name, chance in self._likeliest_choices()),
            f"error: {self.error}" if self.finish_reason == "error" else self.finish_reason,
            f"the {self.left_out} oldest turns left out" if self.left_out > 1 else "",
            "the oldest turn left out" if self.left_out == 1 else "",
        ]
        return " · ".join(part for part in parts if part)

    def thought(self) -> str:
        """What the thoughts took, in words; nothing where there are none."""
        count = self.usage.reasoning_tokens
        return f"thought for {count:,} token{'s' * (count != 1)}, {self.timings.reasoning:.2g} s" if count else ""

    def _likeliest_choices(self) -> list[tuple[str, float]]:
        return sorted(self.choices.items(), key=lambda item: -item[1])[:3]

    def show_tokens(self) -> None:
        """Show every token shaded by its probability; in a notebook another can be taken, and the answer branches.

        What else could have stood in a token's place is there where it was asked for: ``top_logprobs=5``.
        """
        VIEWS["tokens"](self)

    def explore(self) -> None:
        """Open the explorer where this answer was written; needs a notebook.

        Raises:
            PhiError: there is none.
        """
        VIEWS["explorer"](self)

    def __str__(self) -> str:
        return self.text

    def record(self) -> dict[str, Any]:
        """What a notebook's output carries beside the text, under the metadata key ``phi_magic``."""
        return {name: value for name, value in self.to_dict().items() if name != "text"}

    def _plain_data(self) -> Any:
        """``data`` as JSON types, also where it is an instance of a class."""
        if self.data is None or isinstance(self.data, bool | int | float | str | list | dict):
            return self.data
        from pydantic_core import to_json

        try:
            return json.loads(to_json(self.data, fallback=str, inf_nan_mode="null"))
        except Exception:  # noqa: BLE001 (serializers are the user's code; the record has the text of the answer too)
            return None

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, str], dict[str, Any]]:
        return VIEWS["markdown"](self), {"phi_magic": self.record()}


def sendable(value: Any) -> Any:
    """``value`` with every text in it as ``str`` itself, whatever subclass it is of, and as UTF-8 can say it: a lone
    surrogate becomes a question mark.
    """
    if isinstance(value, str):
        text = str.__str__(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            return text.encode("utf-8", "replace").decode()
        return text  # itself: conversations share the texts of their turns
    if isinstance(value, dict):
        return {sendable(name): sendable(item) for name, item in value.items()}
    return [sendable(item) for item in value] if isinstance(value, list | tuple) else value


#: What shows a reply in a notebook, by name; :mod:`phi_magic.views` registers it.
VIEWS: dict[str, Callable[[Reply], Any]] = {}
