"""Turn an exception into the question how to correct its cell. The code and the message are sent; values only on
request.
"""

from __future__ import annotations

import inspect
import linecache
import re
import reprlib
import textwrap
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import CodeType, ModuleType
from typing import Any

from .errors import PhiError
from .rendering.fences import fenced

#: Characters of an error's message that are worth sending.
_MESSAGE = 1000
_FUNCTIONS = 3
_VARIABLES = 20
_CUT = "# ..."

_values = reprlib.Repr()
_values.maxother = _values.maxstring = 200


@dataclass(frozen=True)
class Failure:
    """A cell that failed; ``line`` is the failing line, from 1, or 0 if it is not known."""

    cell: str
    error: str  #: its class and message, as a traceback ends
    line: int = 0
    functions: tuple[str, ...] = ()  #: the source of functions from elsewhere on the way to the error, outermost first
    variables: Mapping[str, str] = field(default_factory=dict)  #: name to ``repr``, cut


def failure(
    error: BaseException, cell: str, is_cell: Callable[[str], bool], variables: Mapping[str, Any] | None = None
) -> Failure:
    """Collect what the prompt says about an exception.

    Args:
        error: with its traceback.
        cell: the source of the cell that failed; empty if it is not known, and then it is found by the traceback.
        is_cell: whether code was compiled under this file name as a cell's.
        variables: the notebook's variables; the values of those that the cell names are sent. None: no values are sent.

    Raises:
        PhiError: it was no cell that failed.
    """
    frames = [(frame.f_code.co_filename, line, frame.f_code) for frame, line in traceback.walk_tb(error.__traceback__)]
    cells = [frame for frame in frames if is_cell(frame[0])]
    name, line = cells[0][:2] if cells else ("", 0)
    if isinstance(error, SyntaxError) and error.filename and is_cell(error.filename):  # it never ran
        name, line = error.filename, error.lineno or 0
    cell = (cell or "".join(linecache.getlines(name))).strip("\n")
    if not cell:
        raise PhiError("nothing to fix: the last exception comes from no cell")
    functions = [source for other, _, code in cells if other != name and (source := _source(code))]
    return Failure(
        cell, _last_line(error), line, tuple(dict.fromkeys(functions))[-_FUNCTIONS:], _told(cell, variables or {})
    )


def prompt(failed: Failure, longest: int | None = None) -> str:
    """The question, of at most about ``longest`` characters: functions are left out first, then lines far from the error."""
    cell, functions = failed.cell, list(failed.functions)
    while functions and longest is not None and len(_prompt(failed, cell, functions)) > longest:
        functions.pop(0)
    if longest is not None and (over := len(_prompt(failed, cell, functions)) - longest) > 0:
        cell = _around(cell, failed.line, max(0, len(cell) - over))
    return _prompt(failed, cell, functions)


def _prompt(failed: Failure, cell: str, functions: list[str]) -> str:
    # The shipped model is trained on exactly this form.
    parts = ["This Python cell failed.", fenced(cell, "python")]
    if functions:
        parts += ["It calls:", fenced("\n\n".join(functions), "python")]
    if failed.variables:
        parts += ["Its variables:", fenced("\n".join(f"{name} = {value}" for name, value in failed.variables.items()))]
    return "\n\n".join(
        [
            *parts,
            fenced(failed.error),
            "Explain the error in one sentence, then give the corrected cell in one Python block.",
        ]
    )


def _around(cell: str, line: int, longest: int) -> str:
    """Return the lines around one line of a cell, at most ``longest`` characters together but always that line."""
    lines = cell.split("\n")
    first = last = min(max(line - 1, 0), len(lines) - 1)
    room = longest - len(lines[first])
    while True:
        above = len(lines[first - 1]) + 1 if first else None
        below = len(lines[last + 1]) + 1 if last + 1 < len(lines) else None
        if below is not None and below <= room and (above is None or last - line <= line - first):
            last, room = last + 1, room - below
        elif above is not None and above <= room:
            first, room = first - 1, room - above
        elif below is not None and below <= room:
            last, room = last + 1, room - below
        else:
            break
    kept = lines[first : last + 1]
    return "\n".join([_CUT] * bool(first) + kept + [_CUT] * (last + 1 < len(lines)))


def _last_line(error: BaseException) -> str:
    # The text of a SyntaxError names a file that the user does not know.
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    message = message.strip()
    cut = message if len(message) <= _MESSAGE else f"{message[:_MESSAGE]}..."
    return f"{type(error).__name__}: {cut}" if cut else type(error).__name__


def _source(code: CodeType) -> str | None:
    """The source of a function, or None of a cell's outermost code and of what has none."""
    if code.co_name == "<module>":
        return None
    try:
        return textwrap.dedent(inspect.getsource(code)).strip("\n")
    except OSError:
        return None


def _told(cell: str, variables: Mapping[str, Any]) -> dict[str, str]:
    named = dict.fromkeys(re.findall(r"[^\W\d]\w*", cell))
    told = {
        name: variables[name]
        for name in named
        if name in variables and not isinstance(variables[name], ModuleType) and not callable(variables[name])
    }
    return {name: _values.repr(value) for name, value in list(told.items())[:_VARIABLES]}
