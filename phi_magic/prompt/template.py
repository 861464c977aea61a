"""A GGUF's chat template is somebody's program: run in jinja2's sandbox, with everything bounded that it could use up.

The sandbox keeps it from Python's insides, but lets it take all time and memory. Here lines are counted, and whatever an
expression makes is weighed with all its parts before it is used: what one line doubles, sixty lines make endless.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from ..errors import PhiError

_SOURCE = 200_000  # characters; published templates have at most some 20,000
_STEPS = 200_000  # lines of a compiled template; Phi-3's own takes about ten a message
_SECONDS = 10.0
_MOST = 20_000_000  # weight of a value, and characters of the output; a character weighs 1
_OBJECT = 100  # weight of an object
_WORK = 5 * _MOST  # weight of all values together
_DIGITS = 10_000  # bits of a product
_INDENT = 16  # spaces in JSON

#: What published templates use, and what cannot make more of what it is given than is weighed afterwards.
_FILTERS = (
    "abs capitalize count d default dictsort e escape first float int items join last length list lower map max min "
    "reject rejectattr replace reverse safe select selectattr sort string title tojson trim unique upper"
).split()
_METHODS: dict[type, frozenset[str]] = {
    str: frozenset(
        "capitalize casefold count endswith find index isalnum isalpha isascii isdecimal isdigit islower isnumeric isspace "
        "istitle isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition rsplit "
        "rstrip split splitlines startswith strip swapcase title upper".split()
    ),
    dict: frozenset("copy get items keys values".split()),
    list: frozenset("copy count index".split()),
    tuple: frozenset("count index".split()),
    int: frozenset(),
    float: frozenset(),
    bytes: frozenset(),
}


class TemplateRefusal(Exception):
    """The template itself said no: ``raise_exception('…')``."""


def write(source: str, variables: Mapping[str, Any]) -> str:
    """The prompt that a chat template makes of its variables.

    Raises:
        TemplateRefusal: the template refuses a conversation that begins with a system message.
        PhiError: the template is broken, reaches for Python's insides, takes too much, or refuses the conversation.
    """
    try:
        if len(source) > _SOURCE:
            raise SecurityError(f"it has {len(source):,} characters")
        _ENVIRONMENT.budget.left = _WORK
        with _Steps(_compiled(source)) as template:
            parts, length = [], 0
            for part in template.generate(**variables, raise_exception=_refuse):
                length += len(part)
                if length > _MOST:
                    raise SecurityError("it writes without end")
                parts.append(part)
        return "".join(parts)
    except TemplateRefusal as error:
        if variables["messages"][0]["role"] == "system":
            raise
        raise PhiError(f"the model's chat template refuses the conversation: {_said(error)}") from None
    except _ERRORS as error:
        raise PhiError(
            f"the model's chat template cannot be used ({_said(error)}); --raw sends the prompt without a template"
        ) from None


@functools.lru_cache(maxsize=8)
def _compiled(source: str) -> jinja2.Template:
    return _ENVIRONMENT.from_string(source)


_ERRORS = (
    *(jinja2.TemplateError, SyntaxError, TypeError, ValueError, LookupError),
    *(AttributeError, ArithmeticError, RecursionError, MemoryError),
)


def _said(error: Exception) -> str:
    return str(error)[:300] or type(error).__name__


def _refuse(reason: str) -> None:
    raise TemplateRefusal(reason)


class _Budget(threading.local):
    """What weight may still be made, in each thread."""

    left = _WORK


class _Names(Namespace):
    """As a text it says nothing of what is in it, which is weighed by itself."""

    def __repr__(self) -> str:
        return "<namespace>"


def _weighing(visit: Callable[..., None]) -> Callable[..., None]:
    """A literal's code, so that the environment weighs what it makes."""

    def weighing(generator: CodeGenerator, node: Any, frame: Any) -> None:
        if getattr(node, "ctx", "load") != "load":  # names that are assigned to
            visit(generator, node, frame)
            return
        generator.write("environment.weighed(")
        visit(generator, node, frame)
        generator.write(")")

    return weighing


class _Generator(CodeGenerator):
    """Has the environment weigh what literals make, and join what ``~`` joins."""

    visit_List = _weighing(CodeGenerator.visit_List)
    visit_Dict = _weighing(CodeGenerator.visit_Dict)
    visit_Tuple = _weighing(CodeGenerator.visit_Tuple)

    def visit_Concat(self, node: nodes.Concat, frame: Any) -> None:
        self.write("environment.concat((")
        for part in node.nodes:
            self.write("environment.text(")
            self.visit(part, frame)
            self.write("), ")
        self.write("))")


class _Environment(ImmutableSandboxedEnvironment):
    code_generator_class = _Generator
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.budget = _Budget()
        own = {"join": self._join, "replace": self._replace, "tojson": self._to_json(self.filters["tojson"])}
        self.filters = {name: self._weighed_filter(own.get(name, self.filters[name])) for name in _FILTERS}
        self.globals = {"range": self.globals["range"], "dict": dict, "namespace": _Names}

    def weighed(self, value: Any) -> Any:
        """The value, if it and everything in it do not weigh too much."""
        self._spend(_weight(value))
        return value

    def text(self, value: Any) -> str:
        made = str(value)
        self._spend(len(made))
        return made

    def concat(self, parts: Iterable[str]) -> str:
        parts = list(parts)
        self._spend(sum(map(len, parts)))
        return "".join(parts)

    def _spend(self, weight: int) -> None:
        self.budget.left -= weight
        if weight > _MOST or self.budget.left < 0:
            raise SecurityError("it takes memory without end")

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" or (operator != "+" and not isinstance(left, int | float)):
            raise SecurityError(f"{operator!r} can make text of any length")
        if operator == "*":
            if not isinstance(right, int | float):
                raise SecurityError("'*' can make text of any length")
            if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > _DIGITS:
                raise SecurityError("it multiplies without end")
        return self.weighed(super().call_binop(context, operator, left, right))

    def call(self, context: Any, function: Any, /, *arguments: Any, **options: Any) -> Any:
        owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        if isinstance(owner, str) and name == "replace":
            return self._replace(owner, *arguments, **options)
        if isinstance(owner, str) and name == "join":
            return self._join(arguments[0], owner)
        return self.weighed(super().call(context, function, *arguments, **options))

    def _join(self, items: Iterable[Any], between: str = "", attribute: str | None = None) -> str:
        parts, between = [], self.text(between)
        for item in items:
            self._spend(_OBJECT + len(between))
            parts.append(self.text(item if attribute is None else self.getattr(item, attribute)))
        return between.join(parts)

    def _replace(self, text: str, old: str, new: str, count: int | None = None) -> str:
        text, old, new = self.text(text), str(old), str(new)
        self._spend(len(text) + text.count(old) * len(new))
        return text.replace(old, new, -1 if count is None else count)

    def _to_json(self, dump: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(dump)
        def to_json(context: Any, value: Any, indent: int | None = None) -> Any:
            if indent is not None and indent > _INDENT:
                raise SecurityError(f"it indents JSON by {indent}")
            return dump(context, value, indent)

        return to_json

    def _weighed_filter(self, made_by: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(made_by)
        def weighing(*arguments: Any, **options: Any) -> Any:
            return self.weighed(made_by(*arguments, **options))

        return weighing

    def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
        raise SecurityError(f"it reaches for {attribute!r} of a {type(obj).__name__}")

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        allowed = next((names for kind, names in _METHODS.items() if isinstance(obj, kind)), None)
        return (allowed is None or attr in allowed) and super().is_safe_attribute(obj, attr, value)


_ENVIRONMENT = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])


def _weight(value: Any) -> int:
    """Of a value and all that is in it, as often as it is in it: a text of it would have that many parts."""
    total, waiting = 0, [value]
    while waiting and total <= _MOST:
        one = waiting.pop()
        total += _OBJECT
        if isinstance(one, str | bytes):
            total += len(one)
        elif isinstance(one, int):
            total += one.bit_length() // 8
        elif isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            waiting += one
    return total


class _Steps:
    """Counts the lines that a template's compiled code runs, in this thread, and ends it when they are too many.

    Jinja2 has no such limit, and a loop that writes nothing gives no other place to stop it.
    """

    def __init__(self, template: Any) -> None:
        self._template = template
        self._file = template.root_render_func.__code__.co_filename
        self._left = _STEPS
        self._end = time.monotonic() + _SECONDS

    def __enter__(self) -> Any:
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self._template

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code.co_filename != self._file:
            return None
        self._left -= 1
        if self._left < 0:
            raise SecurityError("it loops without end")
        if time.monotonic() > self._end:
            raise SecurityError("it does not come to an end")
        return self._trace
