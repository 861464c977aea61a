"""Fill in a cell's body, a Jinja2 template over the notebook's variables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from ..errors import PhiError
from ..paths import expanded, read_text

_LONGEST_FILE = 1_000_000  # bytes: more than any context window holds
_BRACES = 10_000  # more take jinja2 minutes and gigabytes
_SWITCH = "use --no-vars to send the braces as they are"


def fill(body: str, variables: Mapping[str, Any]) -> str:
    """A cell's body with its ``{{ }}`` filled in; single braces are plain text.

    Raises:
        PhiError: an unknown name, a brace left open, an error in an expression, ten thousand of them.
    """
    return Template(body, on_unknown=f": define it first, or {_SWITCH}", on_syntax=f"; {_SWITCH}").fill(variables)


def _file(path: str) -> str:
    """Return the text of a file, for ``{{ file("notes.txt") }}``; a relative path begins at the notebook's folder."""
    return read_text(expanded(path), _LONGEST_FILE)


#: What a template can call; a variable or a column of the same name comes first.
FUNCTIONS = {"file": _file}


class Template:
    """A prompt with ``{{ }}``, compiled once, to be filled in any number of times.

    Args:
        body: the text; single braces are plain text.
        on_unknown: the advice after an error about an unknown name.
        on_syntax: the advice after an error in the syntax.

    Raises:
        PhiError: a brace left open, an error in the syntax, ten thousand braces.
    """

    def __init__(self, body: str, *, on_unknown: str = "", on_syntax: str = "") -> None:
        self.names: frozenset[str] = frozenset()  #: the variables and functions that the text asks for
        self._body = body
        self._on_unknown = on_unknown
        self._compiled = None
        count = sum(map(body.count, ("{{", "{%", "{#")))
        if not count:
            return
        if count > _BRACES:
            raise PhiError(f"the prompt has {count:,} braces to fill in{on_syntax}")
        import jinja2
        from jinja2.meta import find_undeclared_variables

        # What comes out is a prompt, not a page: nothing is to be escaped.
        environment = jinja2.Environment(  # noqa: S701
            undefined=jinja2.StrictUndefined, keep_trailing_newline=True, finalize=_written
        )
        environment.filters["tojson"] = _to_json
        environment.globals.update(FUNCTIONS)
        try:
            self.names = frozenset(find_undeclared_variables(environment.parse(body)))
            self._compiled = environment.from_string(body)
        except jinja2.TemplateSyntaxError as error:
            raise PhiError(f"line {error.lineno} of the prompt: {error.message}{on_syntax}") from None
        except Exception as error:
            raise _failed(error) from error

    def fill(self, variables: Mapping[str, Any]) -> str:
        """The text with these variables in place.

        Raises:
            PhiError: an unknown name, or an error in an expression.
        """
        if self._compiled is None:
            return self._body
        import jinja2

        try:
            return self._compiled.render(variables)
        except PhiError:
            raise
        except jinja2.UndefinedError as error:
            raise PhiError(f"{error.message}{self._on_unknown}") from None
        except Exception as error:  # an expression may raise anything: it is the user's program
            raise _failed(error) from error


def _written(value: Any) -> Any:
    """What a ``{{ }}`` writes; a function is a call without its parentheses, or a column that has a method's name."""
    if isinstance(value, FunctionType | MethodType | BuiltinFunctionType):
        name = value.__name__
        raise PhiError(f"a {{{{ }}}} of the prompt is the function {name}: write {name}(), or ['{name}'] for an item")
    return value


def _failed(error: Exception) -> PhiError:
    return PhiError(f"a {{{{ }}}} of the prompt failed with {type(error).__name__}: {error}")


def _to_json(value: Any, indent: int | None = None) -> str:
    """JSON as a model reads it: jinja2's own filter writes quotes and angle brackets as escapes, for pages."""
    import jinja2

    def plain(item: Any) -> str | None:
        return None if isinstance(item, jinja2.Undefined) else str(item)

    if isinstance(value, jinja2.Undefined):
        str(value)  # raises the error that names it
    return json.dumps(value, ensure_ascii=False, indent=indent, default=plain)
