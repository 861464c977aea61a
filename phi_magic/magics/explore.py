"""``%phi_explore``: an explorer below the cell that asks for one."""

from __future__ import annotations

import argparse
import io
import shlex
from typing import Any

from IPython.core.magic import line_magic, magics_class, no_var_expand

from ..errors import PhiError
from ..options import ASKING, Option, overrides, split
from ..phi import Phi
from ..reply import Reply
from .adapting import PhiMagics, one_line
from .adapting import arguments as magic_arguments

COMPARE = Option(
    ("--compare",),
    {"action": "store_true", "help": "Show two settings side by side: their options follow, each in quotes."},
)
OPTIONS = (*(option for option in ASKING if option.trait or "--raw" in option.flags), COMPARE)


@magics_class
class ExploreMagics(PhiMagics):
    """The magic of one shell, with the ``Phi`` whose settings an explorer begins with."""

    @no_var_expand
    @line_magic
    @magic_arguments(*OPTIONS)
    def phi_explore(self, line: str) -> None:
        """Show, step by step, what each sampling parameter does to the next token of an answer.

        %phi_explore [options] prompt     begin an answer
        %phi_explore VAR                  go through the Reply in this variable
        %phi_explore --compare "-t 0.8" "-t 1.5 --top-p 0.9" [options] prompt
                                          two settings side by side, drawn with the same random numbers

        The sliders are the explorer's own: they change no setting.
        """
        with one_line():
            arguments, rest = _parsed(line)
            options = overrides(arguments)
            sides: list[str] = []
            if arguments.compare:
                sides, rest = _two_texts(rest)
                more, rest = _parsed(rest)
                options |= overrides(more)
            if not hasattr(self.shell, "kernel"):
                raise PhiError("%phi_explore needs a notebook; phi_magic.distribution gives the figures anywhere")
            from ..widgets.explorer import Explorer

            reply = self.shell.user_ns.get(rest)
            if isinstance(reply, Reply):
                if options or sides:
                    raise PhiError("a Reply is explored with the settings it was made with: leave the options out")
                explorer = Explorer.of(reply)
            else:
                raw = options.pop("raw", False)
                if sides:
                    settings = {side: self._settings({**options, **_side(side)}) for side in sides}
                    explorer = Explorer(settings, rest, raw=raw)
                else:
                    explorer = Explorer(self._settings(options), rest, raw=raw)
            explorer.show()

    def _settings(self, options: dict[str, Any]) -> Phi:
        return Phi(**self.phi.settings(options))


def _parsed(line: str) -> tuple[argparse.Namespace, str]:
    """The options that a line begins with, and the rest of it."""
    words, rest = split(line, OPTIONS)
    return ExploreMagics.phi_explore.parser.parse_args(words), rest  # type: ignore[union-attr]


def _two_texts(line: str) -> tuple[list[str], str]:
    """The two quoted texts after ``--compare``, and the rest of the line.

    Raises:
        PhiError: they are not two, or are the same.
    """
    stream = io.StringIO(line)
    words = shlex.shlex(stream, posix=True, punctuation_chars=False)
    words.whitespace_split = True
    words.commenters = ""
    try:
        sides = [words.get_token() or "", words.get_token() or ""]
    except ValueError:
        sides = []
    if len(set(sides)) != 2 or not all(side.strip().startswith("-") for side in sides):
        raise PhiError('--compare takes two different settings in quotes: --compare "-t 0.8" "-t 1.5 --top-p 0.9"')
    return sides, line[stream.tell() :].strip()


def _side(side: str) -> dict[str, Any]:
    """The sampling parameters of one side.

    Raises:
        PhiError: it says something else: both sides have one model, one prompt and one seed.
    """
    arguments, rest = _parsed(side)
    options = overrides(arguments)
    from ..walk import PARAMETERS

    if rest or arguments.compare or not set(options) <= set(PARAMETERS):
        raise PhiError(
            f"--compare takes sampling parameters alone, not {side!r}: other options go before or after the two"
        )
    return options
