"""From a prompt and its options to the question that a backend takes."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from operator import index
from typing import TYPE_CHECKING, Any

from .errors import PhiError, RowsRefused
from .keywords import Options
from .reply import Message, Prompt, Reply, Token, sendable
from .sampling import Sampling, scalar
from .settings import RECORDED_TRAITS, RUNNING_TRAITS, SEED_MAX, TOP_LOGPROBS, Settings, checked

if TYPE_CHECKING:
    from .generation.plan import Plan
    from .generation.request import ModelReference
    from .generation.stream import Question

_LONGEST_PROMPT = 20_000_000  # characters; a context of a million tokens takes about a fifth of it
_SHARED = ("model", "sampling", "stop", "schema", "choices")  # of a request, what takes memory and is seldom its own
_ID_MAX = 2**31 - 1  # llama.cpp's token ids are 32-bit integers


def make_question(
    configured: Settings,
    prompt: Prompt,
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
    ends_after: int = 0,
    **options: Any,
) -> Question:
    """Make the question as a backend takes it, and the reply that it will fill in.

    Args:
        configured: the settings that hold where ``options`` say nothing else.
        prompt: a question, or a conversation as a list of messages ending with the user's.
        many: whether it is one of many: with a cache and without a seed, its seed comes from its messages.

    Raises:
        PhiError: a prompt or an option that cannot be sent.
    """
    settings = configured.settings(options, beside=Options.__annotations__)
    raw, continues, identify = _flag("raw", raw), _flag("continues", continues), _flag("identify", identify)
    given = None if given is None else checked_text("given", given)
    messages = _messages(prompt, settings["system"], raw)
    known = _tokens(known)
    begin = (*(token.id for token in known), *token_ids("begin", begin))
    system = messages[0]["content"] if messages[0]["role"] == "system" and not raw else ""

    from .generation.request import ChatMessage, GenerationRequest, is_address
    from .generation.stream import Question
    from .parameters import SamplingParameters
    from .rendering.token_shading import ALTERNATIVES
    from .schema.structure import read

    structure = None if schema is None else read(schema)
    offered = () if choices is None else _choices(choices, together=schema is not None or bool(begin))
    stop = sendable(settings["stop"])
    seed, cache = settings["seed"], settings["cache"]
    if seed is None:
        derived = many and cache
        seed = _derived(messages) if derived else secrets.randbelow(SEED_MAX + 1)
        cache = cache if derived else ""  # an answer that nobody can ask for again is not kept
    reply = Reply(
        prompt=messages[-1]["content"],
        model=str.__str__(settings["model"]),
        params={name: settings[name] for name in RECORDED_TRAITS}
        | {
            "stop": stop,
            "system": system,
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
        stop=tuple(stop),
        n_ctx=settings["n_ctx"],
        exact=settings["exact"],
        raw=raw,
        schema=structure.text if structure else None,
        choices=offered,
        given=given,
        now=_date(now),
        ends_after=ends_after,
        begin=begin,
        top_logprobs=checked(TOP_LOGPROBS, top_logprobs) or (ALTERNATIVES if settings["format"] == "tokens" else 0),
        known=known,
        continues=continues,
        identify=identify,
    )
    request.check()
    return Question(request, reply, structure, settings["format"] == "json", cache)


def make_questions(
    configured: Settings, prompts: Iterable[tuple[Prompt | PhiError, Mapping[str, Any]]], *, keep_errors: bool
) -> list[Question]:
    """Make many questions, each with its own options.

    Args:
        prompts: an error stands in the place of a prompt that could not be made.
        keep_errors: record in its reply why a question cannot be asked.

    Raises:
        PhiError: a wrong option; questions with different caches; or, without ``keep_errors``, questions that cannot be
            asked.
    """
    asked = list(_sharing(_question_or_refusal(configured, prompt, options) for prompt, options in prompts))
    refused = {number: question.reply.error for number, question in enumerate(asked) if question.reply.error}
    if refused and not keep_errors:
        raise RowsRefused(refused, len(asked))
    if len({question.cache for question in asked}) > 1:
        raise PhiError("some of these questions have another cache than the others: ask them apart")
    return asked


def _question_or_refusal(configured: Settings, prompt: Prompt | PhiError, options: Mapping[str, Any]) -> Question:
    """As :func:`make_question`; where the prompt cannot be asked, the reply says why. A wrong option raises."""
    try:
        if isinstance(prompt, PhiError):
            raise prompt
        return make_question(configured, prompt, True, **options)
    except PhiError as error:
        question = make_question(configured, "-", True, **options)
        reply = question.reply
        reply.prompt, reply.finish_reason, reply.error = "", "error", str(error)
        return question


def _sharing(questions: Iterable[Question]) -> Iterator[Question]:
    """Yield questions; the parts of each that equal those of the one before it are the same objects.

    The rows of a table differ in their prompts and seeds, and there may be a million of them.
    """
    before: Question | None = None
    for question in questions:
        if before is None:
            before = question
        else:
            reply = question.reply
            reply.params = _same(reply.params, before.reply.params)
            parts = {name: _same(getattr(question.request, name), getattr(before.request, name)) for name in _SHARED}
            structure = _same(question.structure, before.structure)
            before = replace(question, request=replace(question.request, **parts), structure=structure)
        yield before


def _same(value: Any, other: Any) -> Any:
    return other if value == other else value


def reference(settings: Mapping[str, Any], plan: Plan | None = None) -> ModelReference:
    """Which model these settings name, and how it is run."""
    from .generation.request import ModelReference

    running = {name: settings[name] for name in RUNNING_TRAITS}
    return ModelReference(str.__str__(settings["model"]), plan=plan, **running)


def _messages(prompt: Prompt, system: str, raw: bool) -> list[Message]:
    """The conversation to send: the system message first where there is one, the question last.

    A raw prompt may be empty: the answer then begins a text.
    """
    if isinstance(prompt, str):
        messages: list[Message] = [{"role": "user", "content": sendable(prompt)}]
    elif not _is_list(prompt):
        raise PhiError(f"the prompt is {prompt!r:.40}, neither a text nor a list of messages")
    else:
        messages = [_message(message) for message in prompt]
    if not messages or not (raw or messages[-1]["content"].strip()):
        raise PhiError("the prompt is empty: write what to ask")
    if (size := sum(len(message["content"]) for message in messages)) > _LONGEST_PROMPT:
        raise PhiError(f"the prompt has {size:,} characters, at most {_LONGEST_PROMPT:,} can be sent: shorten it")
    if not raw and messages[-1]["role"] != "user":
        raise PhiError("a conversation must end with a message of the user")
    if system and not raw and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": sendable(system)})
    return messages


def _is_list(value: Any) -> bool:
    one = scalar(value)
    return isinstance(one, Iterable) and not isinstance(one, str | bytes | Mapping)


def _flag(name: str, value: Any) -> bool:
    flag = scalar(value)
    if not isinstance(flag, bool):
        raise PhiError(f"{name} must be True or False, not {value!r:.60}")
    return flag


def _message(message: Any) -> Message:
    """Check a message, and join the texts of its parts where its content is a list of them."""
    if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
        raise PhiError(
            f"{message!r:.60} is no message: write a dict with role and content; several prompts are asked by map()"
        )
    content = message["content"]
    if isinstance(content, list | tuple):
        content = "\n".join(map(_part, content))
    return {
        "role": checked_text("a message's role", message["role"]),
        "content": checked_text("a message's content", content),
    }


def _part(part: Any) -> str:
    if isinstance(part, Mapping) and "text" in part:
        return checked_text("the text of a message's part", part["text"])
    raise PhiError(f"only text can be sent to the model, and a message has the part {part!r:.60}")


def checked_text(name: str, value: Any) -> str:
    """Check that a value is a text, and return it as it can be sent.

    Raises:
        PhiError: it is none; the line says so of ``name``.
    """
    if not isinstance(value, str):
        raise PhiError(f"{name} must be a text, not {value!r:.60}")
    sent: str = sendable(value)
    return sent


def token_ids(name: str, ids: Iterable[Any]) -> tuple[int, ...]:
    """Check token ids, NumPy's numbers among them.

    Raises:
        PhiError: one is none; the line says so of ``name``.
    """
    numbers: list[Any] = list(ids) if _is_list(ids) else [ids]
    with suppress(TypeError):  # of what is no whole number
        found = tuple(index(number) for number in numbers)
        if _is_list(ids) and bool not in map(type, numbers) and all(0 <= number <= _ID_MAX for number in found):
            return found
    raise PhiError(f"{name} must be a list of token ids, whole numbers from 0 on, not {ids!r:.60}")


def _tokens(known: Iterable[Any]) -> tuple[Token, ...]:
    tokens = tuple(known) if _is_list(known) else (known,)
    if not all(isinstance(token, Token) for token in tokens):
        raise PhiError(f"known must be the first tokens of a Reply, not {known!r:.60}")
    return tokens


def _date(now: Any) -> str:
    written = checked_text("now", now)
    try:
        _ = written and datetime.fromisoformat(written)
    except ValueError:
        raise PhiError(f"now must be a date and time in ISO 8601, not {written!r:.60}") from None
    return written


def _derived(messages: Sequence[Message]) -> int:
    """A seed that is the same for the same messages."""
    digest = hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).digest()
    return int.from_bytes(digest[:8], "big") % (SEED_MAX + 1)


def _choices(choices: Sequence[str], *, together: bool) -> tuple[str, ...]:
    """Check the texts of which an answer is to be one.

    Args:
        together: whether the question has a schema or a beginning too.
    """
    if not _is_list(choices):
        raise PhiError(f"choices must be a list of texts, not {choices!r:.60}")
    offered = tuple(checked_text("each of choices", choice) for choice in choices)
    if len(offered) < 2 or len(set(offered)) < len(offered) or "" in offered:
        raise PhiError("choices must be two texts or more, all different, none empty")
    if together:
        raise PhiError("choices go with neither schema nor begin: leave one out")
    return offered
