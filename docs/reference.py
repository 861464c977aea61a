"""The pages of settings and magics, made of what the code declares of them."""

from __future__ import annotations

import argparse
import inspect
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from phi_magic import Phi
from phi_magic.__main__ import _map_parser, _parser, _replay_parser
from phi_magic.magics import MAGICS
from phi_magic.options import ASKING, CELL
from phi_magic.settings import GROUPS, grouped, takes

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_FLAGS = {option.trait: option.flags for option in (*ASKING, *CELL) if option.trait}


def fill_in(app: Sphinx, page: str, source: list[str]) -> None:
    """Put what is made into the page that is named for it; a listener of ``source-read``."""
    if page in _PAGES:
        source[0] += "\n" + "\n".join(["```{eval-rst}", *_PAGES[page](), "```", ""])


def settings() -> Iterator[str]:
    """A table of all options and settings, then every trait, group by group."""
    os.environ.pop("PHI_MAGIC_MODEL", None)  # it would pass for the default
    defaults = Phi()
    yield from _table(defaults)
    for group, heading in GROUPS.items():
        yield from (f".. rubric:: {heading}", "")
        for name in grouped(group):
            yield from _trait(name, defaults)


def _trait(name: str, defaults: Phi) -> Iterator[str]:
    """A trait: its type, default, bounds, options and help."""
    trait = Phi.class_traits()[name]
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


def _table(defaults: Phi) -> Iterator[str]:
    """The options of ``%phi`` and ``%%phi`` with their settings, then the settings that have no option."""
    rows = [["option", "setting", "takes", "default"]]
    for option in (*ASKING, *CELL):
        metavar = option.keywords.get("metavar")
        spelled = ", ".join(f"``{flag}``" for flag in option.flags) + (f" *{metavar}*" if metavar else "")
        says = option.keywords["help"].replace("%%", "%").partition(".")[0]
        rows.append([spelled, *(_row(option.trait, defaults) if option.trait else ["", _plain(says), ""])])
    rows += [["", *_row(name, defaults)] for name in sorted(Phi.class_traits(config=True).keys() - _FLAGS.keys())]
    yield from (".. list-table::", "   :header-rows: 1", "")
    for first, *others in rows:
        yield f"   * - {first}"
        yield from (f"     - {cell}" for cell in others)
    yield ""


def _row(name: str, defaults: Phi) -> list[str]:
    """The cells of a setting: its name, what it takes, and its default."""
    default = getattr(defaults, name)
    shown = "" if default in ("", None, []) else f"``{default}``"
    return [f":py:attr:`~phi_magic.Phi.{name}`", _plain(takes(Phi.class_traits()[name])), shown]


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
    for terminal in (_parser(), _map_parser(), _replay_parser()):
        yield from _described([terminal.prog], f"{terminal.description}\n\n{terminal.epilog}", terminal)


def _described(names: list[str], text: str, parser: argparse.ArgumentParser | None) -> Iterator[str]:
    title = ", ".join(f"``{name}``" for name in names)
    yield from (title, "-" * len(title), "")
    for part in text.split("\n\n"):
        typed = part.startswith("%")
        lines = [f"   {line}" for line in part.splitlines()] if typed else [_plain(part)]
        yield from (*[".. code-block:: text", ""] * typed, *lines, "")
    in_terminal = not names[0].startswith("%")  # a magic's text shows what stands behind its options
    options = [
        action
        for action in (parser._actions if parser else [])
        if action.dest != "help" and (action.option_strings or in_terminal)
    ]
    if options:
        yield f".. program:: {names[0].lstrip('%')}"
        yield ""
    for action in options:
        value = f" {action.metavar}" if action.nargs != 0 else ""
        flags = [flag + value for flag in action.option_strings]
        yield f".. option:: {', '.join(flags) or action.metavar or action.dest}"
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
