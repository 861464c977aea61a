"""The options of one answer, made from the traits: for the magic's line, for the terminal's, and for completion."""

from __future__ import annotations

import argparse
import csv
import io
import keyword
import shlex
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from traitlets import List, Unicode

from .errors import PhiError
from .phi import Phi
from .settings import TOP_LOGPROBS, checked, takes
from .suggestions import did_you_mean

_TRAITS = Phi.class_traits(config=True)
#: The environment's, where it sets one.
_DEFAULTS: dict[str, Any] = Phi().trait_defaults()  # type: ignore[assignment]  # typed for one trait too


@dataclass(frozen=True)
class Option:
    """The arguments of argparse for one option; ``trait`` is empty for a switch that sets none."""

    flags: tuple[str, ...]
    keywords: dict[str, Any] = field(default_factory=dict)
    trait: str = ""

    @property
    def takes_value(self) -> bool:
        return self.keywords.get("action") != "store_true"

    @property
    def value_optional(self) -> bool:
        return self.keywords.get("nargs") == "?"


def _from_trait(name: str, *flags: str, metavar: str, **keywords: Any) -> Option:
    trait, default = _TRAITS[name], _DEFAULTS[name]
    shown = f" Default: {default}." if default not in ("", None, []) else ""
    bounds = "" if isinstance(trait, List) or takes(trait) == "text" else f" Takes {takes(trait)}."
    text = f"{trait.help}{bounds}{shown}".replace("%", "%%")  # argparse formats it
    return Option(flags, {"dest": name, "metavar": metavar, "help": text, **keywords}, name)


def _switch(*flags: str, text: str) -> Option:
    return Option(flags, {"action": "store_true", "help": text})


#: What an answer takes, wherever it is asked for.
ASKING = (
    _from_trait("model", "-m", "--model", metavar="NAME"),
    _from_trait("temperature", "-t", "--temperature", "--temp", metavar="X"),
    _from_trait("top_p", "--top-p", metavar="X"),
    _from_trait("top_k", "--top-k", metavar="N"),
    _from_trait("min_p", "--min-p", metavar="X"),
    _from_trait("seed", "--seed", metavar="N"),
    _from_trait("repeat_penalty", "--repeat-penalty", metavar="X"),
    _from_trait("repeat_last_n", "--repeat-last-n", metavar="N"),
    _from_trait("max_tokens", "-n", "--max-tokens", "--sample-len", metavar="N"),
    _from_trait("max_reasoning", "--max-reasoning", metavar="N"),
    _from_trait("stop", "--stop", metavar="TEXT", action="append"),
    _from_trait("system", "-s", "--system", metavar="TEXT"),
    Option(
        ("--top-logprobs",),
        {
            "dest": "top_logprobs",
            "metavar": "K",
            "help": "Keep the K likeliest tokens at every step, in Reply.tokens. Default: 0; with -f tokens 5.",
        },
    ),
    Option(
        ("--schema",),
        {
            "dest": "schema",
            "metavar": "VAR",
            "help": "Hold the answer to a JSON schema: a variable with a dict, a pydantic model or a dataclass, or the path "
            "of a JSON file. Reply.data is the object.",
        },
    ),
    Option(
        ("--choices",),
        {
            "dest": "choices",
            "metavar": "A,B,C",
            "help": "The answer is one of these texts; Reply.choices has the probability of each. Put a text with a comma "
            "into double quotes.",
        },
    ),
    _from_trait("cache", "--cache", metavar="FILE", nargs="?", const="on"),
    _switch("--raw", text="Send the prompt as it is: no chat template, special tokens honoured."),
    _switch("--no-stream", text="Show only the end."),
    _switch("-q", "--quiet", text="Show nothing."),
)

OUT = Option(("-o", "--out"), {"dest": "out", "metavar": "VAR", "help": "Bind the Reply to a variable."})

#: What only a cell takes.
CELL = (
    _from_trait("format", "-f", "--format", metavar="F"),
    Option(
        ("-c", "--chat"),
        {
            "dest": "chat",
            "metavar": "NAME",
            "nargs": "?",
            "const": "default",
            "help": "Continue a conversation, the one of this NAME where one is given; without -c a question stands "
            "alone. In %%%%phi the word after -c is NAME; in %%phi, where the prompt follows, join them: -c=NAME.",
        },
    ),
    OUT,
    _switch("--no-vars", text="Leave {{ }} in the prompt as it is."),
)

#: What a map over rows takes besides.
MAPPING = (
    Option(
        ("--into",),
        {
            "dest": "into",
            "metavar": "NAME",
            "default": "answer",
            "help": "The name of the column of answers; where there are several columns, the beginning of their names. "
            "Default: answer.",
        },
    ),
    Option(
        ("--on-error",),
        {
            "dest": "on_error",
            "metavar": "stop|keep",
            "default": "stop",
            "help": "What to do about rows that cannot be asked. stop: compute nothing, and name these rows. keep: answer "
            "the other rows, with a column that says why a row has no answer. Default: stop.",
        },
    ),
    Option(
        ("--executor",),
        {
            "dest": "executor",
            "metavar": "VAR",
            "help": "A variable with a concurrent.futures.Executor, whose processes answer: this machine's, or a cluster's.",
        },
    ),
)


#: The options whose value may be several words.
_TEXTS = frozenset(
    max(option.flags, key=len)
    for option in ASKING
    if isinstance(_TRAITS.get(option.trait), Unicode | List) or option.flags[0] in ("--schema", "--choices")
)


def split(line: str, options: Sequence[Option], *, prompt: bool = True) -> tuple[list[str], str]:
    """Split a line into its options, in the form that argparse takes, and the rest as it was typed.

    Only the options are split as a shell would: a prompt keeps its quotes and apostrophes.

    Args:
        prompt: whether one may follow on the line. Where it may, an option whose value can be left out takes one that
            is joined to it alone (``-c=trip``); else the next word too (``-c trip``).

    Raises:
        PhiError: an option that does not exist, lacks its value, or has a quote left open.
    """
    known = {flag: option for option in options for flag in option.flags}
    stream = io.StringIO(line)
    words = _lexer(stream)
    found: list[str] = []
    while True:
        start = stream.tell()
        if not line[start:].lstrip().startswith("-"):
            return found, line[start:].strip()
        word = _next(words)
        if word == "--":
            return found, line[stream.tell() :].strip()
        flag, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        joined = word[:2] in known and not (
            known[word[:2]].value_optional and word[2:3] != "="
        )  # -chat does not mean -c hat
        if flag not in known and joined and not word.startswith("--"):  # -t0.2, -c=trip
            flag, equals, value = word[:2], "=", word[2:].removeprefix("=")
        if flag not in known:
            raise PhiError(unknown(flag, known))
        if not known[flag].takes_value:
            if equals:
                raise PhiError(f"{flag} takes no value")
            found.append(flag)
            continue
        if not equals:
            after = line[stream.tell() :].lstrip()
            if known[flag].value_optional and (prompt or not after or after.startswith("-")):
                found.append(max(known[flag].flags, key=len))
                continue
            if not after:
                raise PhiError(f"{flag} needs a value")
            value = _next(words)
        # One long word: argparse would take a value that begins with a dash for an option.
        found.append(f"{max(known[flag].flags, key=len)}={value}")


def words_of(line: str) -> list[str]:
    """The words of a line, of which quotes make one out of several.

    Raises:
        PhiError: a quote is left open.
    """
    words = _lexer(io.StringIO(line))
    words.escape = ""  # a path may hold backslashes
    return list(iter(lambda: _next(words), ""))


def _lexer(stream: io.StringIO) -> shlex.shlex:
    words = shlex.shlex(stream, posix=True, punctuation_chars=False)
    words.whitespace_split = True
    words.commenters = ""
    return words


def _next(words: shlex.shlex) -> str:
    try:
        return words.get_token() or ""
    except ValueError:
        raise PhiError("a quote is left open") from None


def unknown(name: str, known: Sequence[str] | dict[str, Any], kind: str = "option") -> str:
    """One line for a name that does not exist, with the nearest that does."""
    listed = ", ".join(known)
    others = "" if not known else f"; these fit: {listed}" if kind == "variable" else f" ({listed})"
    short = name.startswith("-") and len(name) == 2  # for one letter no other letter is a likelier meaning
    return f"there is no {kind} {name}" + ((not short and did_you_mean(name, known)) or others)


def quoting(words: Sequence[str], rest: str) -> str:
    """Return the advice to quote the last option's value, if ``rest`` may belong to it: if it is a text."""
    flag, _, value = words[-1].partition("=") if words else ("", "", "")
    if flag not in _TEXTS:
        return ""
    return f" (for a value of several words write {flag} {shlex.quote(f'{value} {rest}')})"


def overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    """The traits that the options set for this answer, checked; ``raw`` and ``top_logprobs`` too, where they were given.

    Raises:
        PhiError: a value that the trait refuses, in the words of the option.
    """
    found: dict[str, Any] = {}
    for name in (option.trait for option in (*ASKING, *CELL) if option.trait):
        value = getattr(arguments, name, None)
        if value is None:
            continue
        # For the value `--` argparse gives an empty list (Python 3.10 to 3.12).
        value = [text if text != [] else "--" for text in value] if name == "stop" else value if value != [] else "--"
        if name == "stop":
            value = [text.replace("\\n", "\n").replace("\\t", "\t") for text in value]
        found[name] = checked(_TRAITS[name], value)
    if getattr(arguments, "raw", False):
        found["raw"] = True
    if (count := getattr(arguments, "top_logprobs", None)) is not None:
        found["top_logprobs"] = checked(TOP_LOGPROBS, count)
    if (choices := getattr(arguments, "choices", None)) is not None:
        found["choices"] = next(csv.reader([choices], skipinitialspace=True), [])
    return found


def variable(name: str | None) -> str | None:
    """A name that ``-o`` can bind.

    Raises:
        PhiError: it is no Python identifier, or Python keeps it for itself.
    """
    if name is None:
        return None
    spelled = unicodedata.normalize("NFKC", name)  # as Python reads it where it is used
    if not spelled.isidentifier() or keyword.iskeyword(spelled) or (spelled[:2] == spelled[-2:] == "__"):
        raise PhiError(f"-o needs the name of a variable, and {name!r} is none")
    return spelled
