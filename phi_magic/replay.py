"""Run an answer again from its record, and say whether the text is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from .errors import PhiError, wrong_type
from .generation.plan import Plan
from .generation.request import is_address
from .generation.thoughts import TAGS
from .models.files import file_sha256, resolve
from .phi import Phi
from .recorded import Recorded
from .remote.address import parse
from .rendering import to_text, token_shading
from .rendering.formats import FORMS, bundle
from .rendering.table import Table
from .reply import Message, Reply
from .settings import RECORDED_TRAITS

_AROUND = 30  # characters shown on each side of the first difference
#: The fields of a plan that the logits depend on. Threads and the way to read the file suit this machine instead.
_LOGITS_DEPEND_ON = {field.name for field in fields(Plan)} - {"n_threads", "mmap"}
_CACHE_TYPES = {"f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"}
_NEW = {"max_reasoning"}  # an older record lacks it, and no model thought then
_EXTRAS = {"raw", "begin"}
_WHERE_ASKED = {"schema", "choices", "given"}  # recorded only where it was given


@dataclass(frozen=True)
class Outcome:
    """The outcome of running an answer again. ``notes`` name what has changed: the model's file, a version, the
    machine's plan.
    """

    where: str
    reply: Reply | None = None  #: the new answer; None where there could be none
    difference: str = ""  #: the first one, both sides shown
    failure: str = ""  #: why it could not be run again
    notes: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        return not self.difference and not self.failure

    @property
    def verdict(self) -> str:
        return self.failure or self.difference or "same"

    def __str__(self) -> str:
        return "\n  ".join([f"{self.where}: {self.verdict}", *self.notes])


def replay(phi: Phi, recorded: Recorded, *, on_status: Callable[[str], None] = lambda _: None) -> Outcome:
    """Run a recorded answer again, and compare.

    Args:
        phi: says how many threads to use and how long to keep the model; all else is in the record.
        on_status: told in a few words what is going on until the first token is there.
    """
    notes: list[str] = []
    last, mapped = phi.last, phi.mapped
    try:
        record = _checked(recorded.record)
        notes += _other_versions(record)
        plan: Plan | None = None
        if is_address(record["model"]):
            if recorded.foreign:
                _check_named(phi, record["model"])
            notes.append("a server's answer: not promised")
        else:
            notes += _other_file(record)
            plan, note = _plan(phi, record)
            notes += [note] * bool(note)
        reply = _answer(phi, record, plan, on_status)
        notes += _other_factors(record, reply)
    except PhiError as error:
        return Outcome(recorded.where, failure=f"cannot be run again: {error}", notes=tuple(notes))
    finally:
        phi.last, phi.mapped = last, mapped  # what was asked for last, not what was asked for again
    return Outcome(recorded.where, reply, difference=_compared(recorded, reply), notes=tuple(notes))


def _check_named(phi: Phi, model: str) -> None:
    """Refuse to ask a server that a file names and the user does not: it would be sent the key.

    Raises:
        PhiError: the settings name another server or none.
    """
    named = is_address(phi.model) and parse(phi.model).base
    if named != (base := parse(model).base):
        raise PhiError(
            f"the file names the server {base}: set Phi.model or PHI_MAGIC_MODEL to {model}, if you trust it"
        )


def _compared(recorded: Recorded, reply: Reply) -> str:
    """The difference between what was recorded and a new answer; an output may show it in any of the formats."""
    interrupted = recorded.record.get("finish_reason") == "interrupted"
    thoughts = str(recorded.record.get("reasoning", ""))
    if reply.reasoning != thoughts and not (interrupted and reply.reasoning.startswith(thoughts)):
        return f"what the model thought {difference(thoughts, reply.reasoning)}"
    texts = [reply.text, *(_without_held_back(reply) if interrupted else ())]
    if recorded.exact:
        return "" if recorded.text in texts else difference(recorded.text, reply.text)
    shown = {bundle(text, form)["text/plain"] for text in texts for form in FORMS} | {
        token_shading.to_text(reply.tokens)
    }
    if recorded.text in shown:
        return ""
    if not reply.tokens and (was := token_shading.bare(recorded.text)) != recorded.text:
        # an output of -f tokens, and a server that was not asked for probabilities: they are not promised in any case
        now = [token_shading.bare(token_shading.shown(text)).removeprefix("␣") for text in texts]
        return "" if was.removeprefix("␣") in now else difference(was.removeprefix("␣"), now[0])
    return difference(recorded.text, to_text(reply.text))


def _without_held_back(reply: Reply) -> Iterator[str]:
    """An interrupted answer as a worker leaves it that was ended from outside: without the text that it held back, which
    may begin a stop text or thoughts, or is part of a character.
    """
    awaited = [*reply.params["stop"], *(text for tags in TAGS for text in (tags.opening, tags.answer))]
    for length in range(1, min(len(reply.text), max(map(len, awaited))) + 1):
        end = reply.text[-length:].removesuffix("\ufffd")
        if not end or any(text.startswith(end) for text in awaited):
            yield reply.text[:-length]


def summary(outcomes: Sequence[Outcome], expected: int, status: str = "") -> Table:
    """Return a line for each outcome, and below how many of the ``expected`` answers are the same."""
    rows = [[outcome.where, outcome.verdict, "\n".join(outcome.notes)] for outcome in outcomes]
    notes = any(outcome.notes for outcome in outcomes)
    headers = ["answer", "text", "what is not as it was"]
    width = 3 if notes else 2
    return Table(
        headers[:width], [row[:width] for row in rows], tally(outcomes, expected) + f" · {status}" * bool(status)
    )


def tally(outcomes: Sequence[Outcome], expected: int) -> str:
    """One line: how many of how many are the same."""
    same, failed = sum(outcome.same for outcome in outcomes), sum(bool(outcome.failure) for outcome in outcomes)
    counts = {
        "the same": same,
        "different": len(outcomes) - same - failed,
        "not run again": expected - len(outcomes) + failed,
    }
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"{expected} answer{'s' * (expected != 1)}: {told}"


def difference(before: str, now: str) -> str:
    """Where two texts begin to differ, with some of both; empty where they do not."""
    if before == now:
        return ""
    at = next((at for at, (a, b) in enumerate(zip(before, now)) if a != b), min(len(before), len(now)))  # noqa: B905
    start = max(0, at - _AROUND)
    sides = (text[start : at + _AROUND] for text in (before, now))
    was, is_now = (f"{'…' * (start > 0)}{side}"[: 2 * _AROUND + 1] for side in sides)
    return f"differs from character {at + 1} on: was {was!r}, is {is_now!r}"


def _answer(phi: Phi, record: Mapping[str, Any], plan: Plan | None, on_status: Callable[[str], None]) -> Reply:
    params = record["params"]
    options = {name: params[name] for name in RECORDED_TRAITS if name in params}
    if record["finish_reason"] == "interrupted":  # up to where it ended, with the room that it had
        options["ends_after"] = record["usage"]["completion_tokens"]
    options |= {
        "model": record["model"],
        "seed": record["seed"],
        "plan": plan,
        "now": record["engine"].get("now", ""),
    }
    options |= {name: params[name] for name in _EXTRAS | _WHERE_ASKED if name in params}
    prompt: list[Message] = [*record["messages"], {"role": "user", "content": record["prompt"]}]
    if record["engine"].get("pass") == "wide":  # from a batch: wide passes have other logits than single ones
        together = phi.stream_all([(prompt, options)], on_status=on_status)
        together.run()
        return together.replies[0]
    stream = phi.stream(prompt, on_status=on_status, **options)
    stream.run()
    return stream.reply


def _checked(record: Mapping[str, Any]) -> dict[str, Any]:
    """Check that a record has every field, with the right type; a notebook file may hold anything.

    Raises:
        PhiError: it is not.
    """
    from msgspec import convert

    checked = {"messages": [], "engine": {}, "usage": {}, "finish_reason": "stop", **record}
    try:
        convert(checked, Reply)
    except ValueError as error:  # a lone surrogate too
        raise PhiError(f"its record is not one of an answer: {wrong_type(error)}") from None
    params = checked["params"]
    if new := sorted(set(params) - {*RECORDED_TRAITS} - _EXTRAS - _WHERE_ASKED):
        raise PhiError(f"its record tells of {', '.join(new)}, which this version does not know")
    if checked["finish_reason"] == "error":
        raise PhiError(f"it has no answer: {checked.get('error')}")
    if checked["finish_reason"] == "interrupted" and checked["usage"].get("completion_tokens", 0) < 1:
        raise PhiError("it was interrupted before its first token")
    return checked


def _other_versions(record: Mapping[str, Any]) -> Iterator[str]:
    """Return a line for each version that differs from the one that recorded the answer."""
    from importlib.metadata import version

    if (ours := version("phi_magic")) != (theirs := record.get("version")):
        yield f"recorded by phi_magic {theirs or 'of an unknown version'}; this is {ours}"
    if missing := sorted({*RECORDED_TRAITS, *_EXTRAS} - _NEW - set(record["params"])):
        yield f"the record does not tell {', '.join(missing)}; as set here"


def _other_file(record: Mapping[str, Any]) -> Iterator[str]:
    """Say in one line how the model's file differs from the one that answered.

    Raises:
        PhiError: the model is not on this machine.
    """
    file = resolve(record["model"], download=False)
    was = record.get("model_sha256")
    now = file.sha256 or file_sha256(file.path)
    if not was:
        yield "the record does not tell which file the model was"
    elif was != now:
        yield f"the file of {record['model']} has changed: SHA-256 was {str(was)[:12]}…, is {now[:12]}…"


def _other_factors(record: Mapping[str, Any], reply: Reply) -> Iterator[str]:
    """Say in one line that other RoPE factors applied than to the recorded answer."""
    was, now = record["engine"].get("rope"), reply.engine.get("rope")
    if was and was != now:
        yield f"made with the RoPE factors {was!r:.20}, here {now!r}"


def _plan(phi: Phi, record: Mapping[str, Any]) -> tuple[Plan, str]:
    """Return the recorded plan with this machine's number of threads, and how it differs from this machine's own plan.

    Raises:
        PhiError: no such plan can be.
    """
    ours = phi.describe(model=record["model"], profile="auto").plan
    theirs = {
        name: record["engine"].get(name, value) for name, value in asdict(ours).items() if name in _LOGITS_DEPEND_ON
    }
    for name, value in theirs.items():
        if type(value) is not type(getattr(ours, name)) or (name.endswith("_type") and value not in _CACHE_TYPES):
            raise PhiError(f"its record is not one of an answer: the engine's {name} is {value!r:.40}")
    other = [
        f"{name} {value!r}, here {getattr(ours, name)!r}"
        for name, value in theirs.items()
        if value != getattr(ours, name)
    ]
    return replace(ours, **theirs), f"made by another plan than this machine's: {'; '.join(other)}" if other else ""
