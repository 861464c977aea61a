"""What Tab offers for options, and for the values of those that have a few."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

from ..conversation import names
from ..models import files
from ..options import Option
from ..settings import Settings

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

Completer = Callable[["InteractiveShell", Any], list[str]]


def schemas(shell: InteractiveShell) -> list[str]:
    """The names of variables that ``--schema`` may take."""

    def fits(value: object) -> bool:
        named = isinstance(value, type) and (hasattr(value, "model_json_schema") or is_dataclass(value))
        return named or (
            isinstance(value, dict) and bool(value.keys() & {"type", "properties", "anyOf", "enum", "$ref"})
        )

    return [name for name, value in shell.user_ns.items() if not name.startswith("_") and fits(value)]


_VALUES: dict[str, Callable[[InteractiveShell], list[str]]] = {
    "--model": lambda shell: files.names(),
    "--format": lambda shell: list(Settings.format.values or ()),
    "--chat": lambda shell: names(),
    "--schema": schemas,
}


def completer(options: tuple[Option, ...], words: Callable[[InteractiveShell], list[str]] = lambda _: []) -> Completer:
    """A completer for a magic with these options; ``words`` may stand on its line beside them."""

    def complete(shell: InteractiveShell, event: Any) -> list[str]:
        before = event.text_until_cursor.split()
        previous = before[-2] if event.symbol and len(before) > 1 else before[-1]
        if event.symbol.startswith("-"):
            offered = [flag for option in options for flag in option.flags]
        else:
            asked = next((option.flags[-1] for option in options if previous in option.flags), "")
            offered = _VALUES.get(asked, words)(shell)
        return [word for word in offered if word.startswith(event.symbol)]

    return complete
