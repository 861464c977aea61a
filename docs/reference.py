"""The pages of settings and magics, made of what the code declares of them."""

from __future__ import annotations

import argparse
import inspect
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from phi_magic import Phi
from phi_magic.__main__ import _parser
from phi_magic.magics import MAGICS
from phi_magic.options import ASKING, CELL
from phi_magic.settings import takes

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_FLAGS = {option.trait: option.flags for option in (*ASKING, *CELL) if option.trait}


def fill_in(app: Sphinx, page: str, source: list[str]) -> None:
    """Put what is made into the page that is named for it; a listener of ``source-read``."""
    if page in _PAGES:
        source[0] += "\n" + "\n".join(["```{eval-rst}", *_PAGES[page](), "```", ""])


def settings() -> Iterator[str]:
    """Every trait: its type, default, bounds, options and help."""
    os.environ.pop("PHI_MAGIC_MODEL", None)  # it would pass for the default
    defaults = Phi()
    for name, trait in sorted(Phi.class_traits(config=True).items()):
        yield f".. py:attribute:: phi_magic.Phi.{name}"
        yield f"   :type: {_kind(trait)}"
        yield f"   :value: {getattr(defaults, name)!r}"
        yield ""
        yield f"   {_plain(trait.help)}"
        yield ""
        yield f"   :Takes: {_plain(takes(trait))}{' or None' * trait.allow_none}"
        if name in _FLAGS:
            yield f"   :Options: {', '.join(f'``{flag}``' for flag in _FLAGS[name])}"
        yield ""


def magics() -> Iterator[str]:
    """Every magic, and the form in a terminal: what its ``?`` says, and each option."""
    methods: dict[Any, list[str]] = {}
    for kind in MAGICS:
        for mark, table in (("%", "line"), ("%%", "cell")):
            for name, method in kind.magics[table].items():
                methods.setdefault(getattr(kind, method), []).append(mark + name)
    for method, names in sorted(methods.items(), key=lambda item: item[1][0].lstrip("%")):
        parser = getattr(method, "parser", None)
        text = parser.description if parser else method.__doc__
        yield from _described(names, inspect.cleandoc(text), parser)
    terminal = _parser()
    yield from _described([terminal.prog], f"{terminal.description}\n\n{terminal.epilog}", terminal)


def _described(names: list[str], text: str, parser: argparse.ArgumentParser | None) -> Iterator[str]:
    title = ", ".join(f"``{name}``" for name in names)
    yield from (title, "-" * len(title), "")
    for part in text.split("\n\n"):
        typed = part.startswith("%")
        lines = [f"   {line}" for line in part.splitlines()] if typed else [_plain(part)]
        yield from (*[".. code-block:: text", ""] * typed, *lines, "")
    options = (
        [action for action in parser._actions if action.option_strings and action.dest != "help"] if parser else []
    )
    if options:
        yield f".. program:: {names[0].lstrip('%')}"  # Sphinx formats with it
        yield ""
    for action in options:
        value = f" {action.metavar}" if action.nargs != 0 else ""
        yield f".. option:: {', '.join(flag + value for flag in action.option_strings)}"
        yield ""
        yield f"   {_plain((action.help or '').replace('%%', '%'))}"
        yield ""


def _kind(trait: Any) -> str:
    """The name of a trait's type in traitlets: our own ones are named for the one that they refine."""
    return next(kind.__name__ for kind in type(trait).__mro__ if kind.__module__.startswith("traitlets"))


def _plain(text: str) -> str:
    """Text that reStructuredText shows to the letter."""
    return re.sub(r"([\\*`|_])", r"\\\1", text)


_PAGES = {"reference/settings": settings, "reference/magics": magics}
