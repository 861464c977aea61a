"""Complete the lines of our magics with Tab: options, and values where there are few."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.completer import SimpleCompletion, SimpleMatcherResult, context_matcher

from ..conversation import names
from ..models import files
from ..options import Option
from ..reply import Reply
from ..settings import Settings

if TYPE_CHECKING:
    from IPython.core.completer import CompletionContext
    from IPython.core.interactiveshell import InteractiveShell

#: The name by which IPython finds our matcher.
IDENTIFIER = "phi_magic"

_MAGIC = re.compile(r"\s*(?:[\w.,\[\] ]+=\s*)?(?P<name>%{0,2}[^\W\d]\w*)\s(?P<rest>.*)", re.DOTALL)

#: One of these is in any JSON schema that holds an answer to something.
_SCHEMA = frozenset(["type", "properties", "anyOf", "oneOf", "allOf", "enum", "const", "$ref"])


@dataclass(frozen=True)
class Typed:
    """A line of a magic as far as it is typed; ``symbol`` is the word that the cursor ends."""

    line: str
    text_until_cursor: str
    symbol: str
    rest: str  #: between the magic's name and ``symbol``

    @property
    def before(self) -> list[str] | None:
        """The words between the magic's name and ``symbol``; None within an open quote."""
        try:
            return shlex.split(self.rest)
        except ValueError:
            return None


#: Says what fits; None leaves it to IPython, as within a prompt.
Completer = Callable[["InteractiveShell", Any], "list[str] | None"]


class _Nothing(list[SimpleCompletion]):
    """No completions. It claims to have one: IPython 9.18 lets no empty result suppress the others."""

    def __len__(self) -> int:
        return 1


def matcher(
    shell: InteractiveShell, completers: Mapping[str, Completer]
) -> Callable[[CompletionContext], SimpleMatcherResult]:
    """Make what IPython asks for completions: within our magics only what fits is offered, be it nothing.

    A ``complete_command`` hook would not do: Jedi's names stand before a hook's.
    """

    def match(context: CompletionContext) -> SimpleMatcherResult:
        offered: list[str] | None = None
        found = _MAGIC.fullmatch(context.text_until_cursor)
        if found and (complete := completers.get(_name(found["name"], shell, context))):
            rest = found["rest"].removesuffix(context.token)
            typed = Typed(context.line_with_cursor, context.text_until_cursor, context.token, rest)
            offered = complete(shell, typed)
        completions = [SimpleCompletion(text=text, type="magic") for text in dict.fromkeys(offered or ())]
        if offered is None:
            return SimpleMatcherResult(completions=completions)
        return SimpleMatcherResult(completions=completions or _Nothing(), suppress=True, ordered=True)

    marked: Callable[[CompletionContext], SimpleMatcherResult] = context_matcher(identifier=IDENTIFIER)(match)
    return marked


def _name(name: str, shell: InteractiveShell, context: CompletionContext) -> str:
    """The magic's name with its percent signs, which may be left out on a line; empty where it is none."""
    if name.startswith("%%"):
        return name if context.cursor_line == 0 else ""
    return name if name.startswith("%") else "" if name in shell.user_ns else f"%{name}"


def says_schema(value: object) -> bool:
    """Whether ``--schema`` may take this value: a class with fields, a schema, or the path of a JSON file."""
    if isinstance(value, type):
        return hasattr(value, "model_json_schema") or is_dataclass(value)
    if isinstance(value, str | Path):
        return str(value).endswith(".json")
    return isinstance(value, dict) and not _SCHEMA.isdisjoint(value)


def _variables(shell: InteractiveShell, fits: Callable[[Any], bool]) -> list[str]:
    """The names of the user's variables whose value fits."""
    hidden = shell.user_ns_hidden
    return [
        name for name, value in shell.user_ns.items() if not name.startswith("_") and name not in hidden and fits(value)
    ]


def schemas(shell: InteractiveShell) -> list[str]:
    """The names of variables that ``--schema`` may take."""
    return _variables(shell, says_schema)


_VALUES: dict[str, Callable[[InteractiveShell], list[str]]] = {
    "--model": lambda shell: files.names(),
    "--format": lambda shell: list(Settings.format.values or ()),
    "--chat": lambda shell: names(),
    "--schema": schemas,
    "--after": lambda shell: _variables(shell, lambda value: isinstance(value, str | Reply)),
    "--executor": lambda shell: _variables(shell, lambda value: callable(getattr(value, "submit", None))),
}


#: The options whose value may be the path of a file, which IPython completes.
_PATHS = frozenset(["--model", "--schema", "--cache"])


def completer(options: tuple[Option, ...], words: Callable[[InteractiveShell], list[str]] | None = None) -> Completer:
    """Make a completer for a magic with these options.

    Args:
        words: what may stand among the options. Without it the first word that is no option begins the prompt.
    """
    known = {flag: option for option in options for flag in option.flags}

    def complete(shell: InteractiveShell, typed: Typed) -> list[str] | None:
        awaiting: Option | None = None
        if typed.before is None:
            return None
        for word in typed.before:
            if word.startswith("-") and (awaiting is None or awaiting.value_optional):
                option = known.get(word.removesuffix("="))
                awaiting = option if option and option.takes_value else None
            elif awaiting:
                awaiting = None
            elif words is None:
                return None
        free = False  # whether a word may stand here that nobody can foresee
        if awaiting and not typed.symbol.startswith("-"):
            flag = max(awaiting.flags, key=len)
            values = _VALUES.get(flag)
            offered = values(shell) if values else []
            free = flag in _PATHS
        elif words is None or typed.symbol.startswith("-"):
            offered = list(known)
        else:
            offered = words(shell)
            free = True
        fit = [word for word in offered if word.startswith(typed.symbol)]
        return None if free and typed.symbol and not fit else fit

    return complete
