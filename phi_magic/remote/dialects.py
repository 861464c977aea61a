"""What the servers that call themselves OpenAI-compatible understand, each in its own way.

Sources: llama.cpp b10016 ``tools/server`` and llama_cpp.server of llama-cpp-python 0.3.36, read and tried; vLLM 0.33,
Ollama 0.12 and LM Studio 0.4, by their documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import msgspec

from ..errors import PhiError
from ..generation.request import MAX_REASONING, GenerationRequest
from ..parameters import SamplingParameters
from ..sampling import Sampling

#: The value that switches a sampling parameter off, of those that OpenAI's interface does not have.
_OFF = {
    one.name: Sampling.class_traits()[one.name].metadata["off"]
    for one in fields(SamplingParameters)
    if one.name not in ("temperature", "top_p")
}
_OURS = {name: name for name in _OFF}
_DEFAULTS = SamplingParameters()


@dataclass(frozen=True)
class Dialect:
    """One kind of server.

    Attributes:
        name: what its users call it.
        sends: the sampling parameters that it is sent beside temperature and top-p: ours to its name. One that a server
            does not know is sent where that does no harm: its next version may know it.
        ignores: which of ours change nothing there.
        always: what is sent with every request, so that no default of the server's changes what is drawn from.
        logprobs: whether it gives log-probabilities.
        logprobs_since: the first version that gives them; empty: all do.
        completes: whether it continues a text as it is, without its chat template.
        tokens: whether it gives token ids, takes them, and cuts texts into them.
        evaluates: whether it tells how likely the tokens of a given text are.
        usage: whether it sends the counts of tokens at a stream's end, where asked.
        plain_schema: whether a schema is named as llama_cpp.server wants it, rather than as OpenAI does.
        continues: what a conversation is sent with that ends with the beginning of an answer; None: it cannot go on there.
        at_once: whether it answers several requests at the same time.
        broke_off: why a stream may end before the answer does, to end a sentence with.
        refuses_silently: whether it ends a stream without a word where it would otherwise say why it refuses a request.
    """

    name: str
    sends: Mapping[str, str] = field(default_factory=lambda: _OURS)
    ignores: frozenset[str] = frozenset()
    always: Mapping[str, Any] = field(default_factory=dict)
    logprobs: bool = True
    logprobs_since: tuple[int, ...] = ()
    completes: bool = True
    tokens: bool = False
    evaluates: bool = False
    usage: bool = True
    plain_schema: bool = False
    continues: Mapping[str, Any] | None = None
    at_once: bool = True
    broke_off: str = ""
    refuses_silently: bool = False

    def ignored(self, sampling: SamplingParameters) -> list[str]:
        """The parameters that this server does not know, and that are not off."""
        return [name for name, off in _OFF.items() if name in self.ignores and getattr(sampling, name) != off]

    def check(self, request: GenerationRequest) -> None:
        """Refuse what this server would ignore, or cannot do.

        A parameter that has its default value is not refused: the user has not set it.

        Raises:
            PhiError: in one line, which setting, and what to do.
        """
        for name in self.ignored(request.sampling):
            if getattr(request.sampling, name) != getattr(_DEFAULTS, name):
                raise PhiError(
                    f"{self.name} ignores {name}: set it to {_OFF[name]} (off), or ask a server that knows it "
                    "(llama-server knows all)"
                )
        if request.max_reasoning != MAX_REASONING:
            raise PhiError(
                f"{self.name} cannot end thoughts: leave max_reasoning at {MAX_REASONING}; max_tokens counts thoughts and "
                "answer there"
            )
        if request.top_logprobs and not self.logprobs:
            raise PhiError(f"{self.name} gives no log-probabilities: leave out -f tokens and --top-logprobs")
        if request.raw and not self.completes:
            raise PhiError(f"{self.name} always uses its chat template: leave out --raw")
        if (request.choices or request.given is not None) and not self.evaluates:
            raise PhiError(
                f"{self.name} does not tell how likely a given text is, which choices and score need: ask llama-server or "
                "vLLM"
            )
        if request.choices and request.raw and not self.tokens:
            raise PhiError(f"{self.name} takes an answer's end from its chat template: leave out --raw to have choices")
        if (request.begin or request.known) and not self.tokens:
            raise PhiError(f"{self.name} takes no token ids: an answer cannot branch, nor begin with given tokens")
        if request.schema is not None and request.begin:
            raise PhiError(
                f"{self.name} would begin the schema anew after the given tokens: leave out --schema to branch"
            )

    def body(self, request: GenerationRequest, model: str) -> dict[str, Any]:
        """The parameters of a request as this server takes them: all but the prompt."""
        sampling = request.sampling
        longest = min(request.max_tokens, request.ends_after or request.max_tokens)
        body: dict[str, Any] = {
            "model": model,
            "stream": True,
            "temperature": 0.0 if sampling.greedy else sampling.temperature,
            "top_p": sampling.top_p or 1.0,  # 0 is off for us, and one token for others
            "seed": request.seed,
            "max_tokens": max(1, longest - len(request.begin)),
            "presence_penalty": 0,
            "frequency_penalty": 0,
            **self.always,
            **{theirs: getattr(sampling, ours) for ours, theirs in self.sends.items()},
        }
        if request.stop:
            body["stop"] = list(request.stop)
        if self.usage:
            body["stream_options"] = {"include_usage": True}
        return body

    def request(self, request: GenerationRequest, model: str, begun: str = "") -> tuple[str, dict[str, Any]]:
        """The path and the body of a request of text.

        Args:
            begun: text that the answer begins with.

        Raises:
            PhiError: the answer cannot begin with it.
        """
        if request.raw:
            prompt = "".join(message.content for message in request.messages)
            return "/completions", self.completion(request, model, prompt + begun)
        body = self.chat(request, model)
        if begun:
            if self.continues is None:
                raise PhiError(f"{self.name} cannot go on within an answer of a conversation: with --raw it can")
            body |= {"messages": [*body["messages"], {"role": "assistant", "content": begun}], **self.continues}
        return "/chat/completions", body

    def chat(self, request: GenerationRequest, model: str) -> dict[str, Any]:
        """The request of an answer in a conversation."""
        body = self.body(request, model)
        body["messages"] = [message.to_dict() for message in request.messages]
        if request.top_logprobs:
            body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        if request.schema is not None:
            schema = msgspec.Raw(request.schema.encode())  # as it is written: the order of members is the answer's
            body["response_format"] = (
                {"type": "json_object", "schema": schema}
                if self.plain_schema
                else {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
            )
        return body

    def completion(self, request: GenerationRequest, model: str, prompt: str | list[int]) -> dict[str, Any]:
        """The request of an answer that continues a text."""
        body = {**self.body(request, model), "prompt": prompt}
        if request.top_logprobs:
            body["logprobs"] = request.top_logprobs
        if request.schema is not None:
            if not self.tokens:
                raise PhiError(
                    f"{self.name} holds no text without a chat template to a schema: leave out --raw, or --schema"
                )
            body["json_schema"] = msgspec.Raw(request.schema.encode())
        return body


LLAMA_SERVER = Dialect(
    "llama-server",
    # the order in which phi_magic.distribution applies them; its own draws the temperature last
    always={"samplers": ["penalties", "temperature", "top_p", "top_k", "min_p"]},
    tokens=True,
    evaluates=True,
)
LLAMA_CPP_SERVER = Dialect(
    "llama_cpp.server",
    ignores=frozenset({"repeat_last_n"}),
    usage=False,
    plain_schema=True,
    at_once=False,
    broke_off="; it does so when another request comes, unless it was started with --interrupt_requests false",
    refuses_silently=True,
)
VLLM = Dialect(
    "vLLM",
    sends={"top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repetition_penalty"},
    ignores=frozenset({"repeat_last_n"}),
    continues={"continue_final_message": True, "add_generation_prompt": False},
    evaluates=True,
)
OLLAMA = Dialect("Ollama's /v1", ignores=frozenset(_OFF), logprobs_since=(0, 12, 11), completes=False, continues={})
LM_STUDIO = Dialect("LM Studio", ignores=frozenset({"min_p", "repeat_last_n"}), logprobs=False)
#: OpenAI's own server refuses a request with a parameter that it does not know, and so may this one.
UNKNOWN = Dialect("a server of unknown kind", sends={}, ignores=frozenset(_OFF))
