"""From a prompt and its options to the question that a backend takes."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .errors import PhiError
from .reply import Message, Reply, Token
from .sampling import Sampling
from .settings import ANSWER_TRAITS, SEED_MAX, Settings

if TYPE_CHECKING:
    from .generation.plan import Plan
    from .generation.request import ModelReference
    from .generation.stream import Question

_LONGEST_PROMPT = 20_000_000  # characters; a context of a million tokens takes about a fifth of it


def make_question(
    configured: Settings,
    prompt: str | Sequence[Message],
    many: bool = False,
    /,
    *,
    raw: bool = False,
    begin: Sequence[int] = (),
    known: Sequence[Token] = (),
    top_logprobs: int = 0,
    continues: bool = False,
    plan: Plan | None = None,
    identify: bool = True,
    schema: Any = None,
    choices: Sequence[str] | None = None,
    given: str | None = None,
    now: str = "",
    **options: Any,
) -> Question:
    """Make the question as a backend takes it, and the reply that it will fill in.

    Args:
        configured: the settings that hold where ``options`` say nothing else.
        prompt: a question, or a conversation as a list of messages ending with the user's.
        many: whether it is one of many: with a cache and without a seed, its seed comes from its messages.
    """
    settings = configured.settings(options)
    messages = _messages(prompt, settings["system"], raw, alone=raw and given is not None)
    begin = (*(token.id for token in known), *begin)
    system = messages[0]["content"] if messages[0]["role"] == "system" and not raw else ""

    from .generation.request import ChatMessage, GenerationRequest, SamplingParameters, is_address
    from .generation.stream import Question
    from .rendering.token_shading import ALTERNATIVES
    from .schema.structure import read

    structure = None if schema is None else read(schema)
    offered = () if choices is None else _choices(choices, together=schema is not None or bool(begin))
    seed, cache = settings["seed"], settings["cache"]
    if seed is None:
        derived = many and cache
        seed = _derived(messages) if derived else secrets.randbelow(SEED_MAX + 1)
        cache = cache if derived else ""  # an answer that nobody can ask for again is not kept
    reply = Reply(
        prompt=messages[-1]["content"],
        model=settings["model"],
        params={name: settings[name] for name in ANSWER_TRAITS}
        | {
            "stop": list(settings["stop"]),
            "system": system,
            "n_ctx": settings["n_ctx"],
            "exact": settings["exact"] and not is_address(settings["model"]),  # a server does not promise it
            "raw": raw,
            "begin": list(begin),
        }
        | ({"schema": structure.text} if structure else {})
        | ({"choices": list(offered)} if offered else {})
        | ({"given": given} if given is not None else {}),
        seed=seed,
        messages=messages[1:-1] if system else messages[:-1],
    )
    request = GenerationRequest(
        model=reference(settings, plan),
        messages=tuple(ChatMessage(message["role"], message["content"]) for message in messages),
        sampling=SamplingParameters(**{name: settings[name] for name in Sampling.class_trait_names()}),
        seed=seed,
        max_tokens=settings["max_tokens"],
        max_reasoning=settings["max_reasoning"],
        stop=tuple(settings["stop"]),
        n_ctx=settings["n_ctx"],
        exact=settings["exact"],
        raw=raw,
        schema=structure.text if structure else None,
        choices=offered,
        given=given,
        now=now,
        begin=begin,
        top_logprobs=top_logprobs or (ALTERNATIVES if settings["format"] == "tokens" else 0),
        known=tuple(known),
        continues=continues,
        identify=identify,
    )
    return Question(request, reply, structure, settings["format"] == "json", cache)


def question_or_refusal(
    configured: Settings, prompt: str | Sequence[Message] | PhiError, options: Mapping[str, Any]
) -> Question:
    """As :func:`make_question`; where the prompt cannot be asked, the reply says why. A wrong option raises."""
    try:
        if isinstance(prompt, PhiError):
            raise prompt
        return make_question(configured, prompt, True, **options)
    except PhiError as error:
        question = make_question(configured, "-", **options)
        reply = question.reply
        reply.prompt, reply.finish_reason, reply.error = "", "error", str(error)
        return question


def reference(settings: Mapping[str, Any], plan: Plan | None = None) -> ModelReference:
    """Which model these settings name, and how it is run."""
    from .generation.request import ModelReference

    running = {name: settings[name] for name in ("profile", "n_threads", "n_gpu_layers", "keep_alive", "in_flight")}
    return ModelReference(settings["model"], plan=plan, **running)


def _messages(prompt: str | Sequence[Message], system: str, raw: bool, *, alone: bool = False) -> list[Message]:
    """The conversation to send: the system message first where there is one, the question last."""
    if isinstance(prompt, str):
        messages: list[Message] = [{"role": "user", "content": plain(prompt)}]
    else:
        messages = [{"role": m["role"], "content": plain(m["content"])} for m in prompt]
    if not messages or not (alone or messages[-1]["content"].strip()):
        raise PhiError("the prompt is empty: write what to ask")
    if (size := sum(len(message["content"]) for message in messages)) > _LONGEST_PROMPT:
        raise PhiError(f"the prompt has {size:,} characters, at most {_LONGEST_PROMPT:,} can be sent: shorten it")
    if not raw and messages[-1]["role"] != "user":
        raise PhiError("a conversation must end with a message of the user")
    if system and not raw and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": plain(system)})
    return messages


def _derived(messages: Sequence[Message]) -> int:
    """A seed that is the same for the same messages."""
    digest = hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).digest()
    return int.from_bytes(digest[:8], "big") % (SEED_MAX + 1)


def _choices(choices: Sequence[str], *, together: bool) -> tuple[str, ...]:
    """Check the texts of which an answer is to be one.

    Args:
        together: whether the question has a schema or a beginning too.
    """
    if isinstance(choices, str) or not all(isinstance(choice, str) for choice in choices):
        raise PhiError(f"choices must be a list of texts, not {choices!r:.60}")
    offered = tuple(plain(choice) for choice in choices)
    if len(offered) < 2 or len(set(offered)) < len(offered) or "" in offered:
        raise PhiError("choices must be two texts or more, all different, none empty")
    if together:
        raise PhiError("choices go with neither schema nor begin: leave one out")
    return offered


def plain(text: str) -> str:
    """A text as ``str`` itself, whatever subclass it is of, with a question mark for each lone surrogate."""
    text = str.__str__(text)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text
