"""Read a JSON schema from what a user gives, and make an object of an answer that follows it.

pydantic describes a class as JSON schema and makes the instance: a pydantic model and a dataclass take the same path.
msgspec does not replace it: it refuses a union of two dataclasses or of two lists, ``Enum | str``, an enumeration of
mixed values and an ``InitVar`` (msgspec 0.22; tests/test_structure.py holds each).
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from traceback import format_exception_only
from typing import TYPE_CHECKING, Any

from ..errors import PhiError
from ..paths import expanded, read_text, show_path
from ..rendering.extract import data
from ..reply import Reply
from ..settings import Settings
from .check import check, check_schema

if TYPE_CHECKING:
    from pydantic import TypeAdapter

#: Characters of the longest schema: a longer one takes seconds to compile, and nothing can interrupt that.
LONGEST_SCHEMA = 200_000

#: The formats that llguidance 1.9 knows and pydantic writes.
_FORMATS = ("date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid")

_TAKES = "a JSON-schema dict, a pydantic model, a dataclass, or the path of a JSON file"


@dataclass(frozen=True)
class Structure:
    """A JSON schema for an answer, and the class that the answer becomes an instance of.

    Attributes:
        text: The JSON schema. It is text because the members of an answer come in the order in which the schema names
            them, and a saved notebook sorts the keys of what it holds.
        kind: A pydantic model or a dataclass; None where the answer stays plain JSON.
    """

    text: str
    kind: type | None = None

    def parse(self, text: str) -> Any:
        """Make the object of a whole answer.

        Raises:
            PhiError: The answer was cut, it breaks the schema, or the class refuses it.
        """
        value = data(text)
        check(self.text, value)
        return value if self.kind is None else _instance(self.kind, value)

    def fill(self, reply: Reply) -> None:
        """Make the object of a whole answer, ``reply.data``; where there is none, ``reply.error`` says why."""
        try:
            reply.data = self.parse(reply.text)
        except PhiError as error:
            longest = reply.params["max_tokens"]
            cut = f"cut at -n {longest}, before the object was whole: raise -n (default {Settings.max_tokens.default_value})"
            reply.error = cut if reply.finish_reason == "length" else str(error)


def read(source: Any) -> Structure:
    """Read a schema from a dict, JSON text, a pydantic model, a dataclass, or the path of a JSON file.

    Raises:
        PhiError: The source is none of them, or a class that JSON has no form for.
    """
    if isinstance(source, Structure):
        return source
    structure = _read(source)
    check_schema(structure.text)
    return structure


def _read(source: Any) -> Structure:
    if isinstance(source, str) and source.lstrip().startswith("{"):
        return Structure(str.__str__(source))  # a subclass, such as Markup, could not be sent
    if isinstance(source, str | Path):
        return Structure(_file(expanded(source)))
    if isinstance(source, dict):
        return Structure(_text(source))
    if isinstance(source, type) and (dataclasses.is_dataclass(source) or hasattr(source, "model_json_schema")):
        return Structure(_text(_without_more(_described(source))), source)
    raise PhiError(f"a schema is {_TAKES}, not {_called(source)}")


def _text(schema: dict[str, Any]) -> str:
    try:
        return json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise PhiError(f"the schema is not JSON: {reason}") from None


def _file(path: Path) -> str:
    try:
        text = read_text(path, LONGEST_SCHEMA)
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise PhiError(f"{show_path(path)}: is no JSON schema: {reason}") from None
    if not isinstance(schema, dict):
        raise PhiError(f"{show_path(path)}: is no JSON schema: it holds {_called(schema)}, not an object")
    return text


@lru_cache(maxsize=16)
def _adapter(kind: type) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    adapter.rebuild(raise_errors=True)  # names a class that is not defined yet, which TypeAdapter itself does not
    return adapter


def _described(kind: type) -> dict[str, Any]:
    from pydantic.json_schema import GenerateJsonSchema

    class Given(GenerateJsonSchema):
        """Describe only the fields that are given: not those with ``field(init=False)``, which pydantic passes over."""

        def field_is_present(self, field: Any) -> bool:
            return field.get("init", True) and super().field_is_present(field)

    try:
        return _adapter(kind).json_schema(schema_generator=Given)
    except (Exception, SystemExit) as error:  # noqa: BLE001 (a class may bring code that describes it, and that may raise anything)
        raise PhiError(f"{kind.__name__} has no JSON schema: {_reason(error)}") from None


def _without_more(schema: Any) -> Any:
    """Allow the objects of a class no members but those that it names, unless the class says so itself.

    A class drops or refuses other members, and a language model that may invent some does. ``oneOf`` (a discriminated
    union) becomes ``anyOf``; ``uniqueItems`` (a set) and formats that are pydantic's own, such as ``path``, are left
    out. A grammar cannot express them, and the class decides in the end.
    """
    if isinstance(schema, list):
        return [_without_more(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {
        {"oneOf": "anyOf"}.get(key, key): {name: _without_more(item) for name, item in value.items()}
        if key in ("properties", "$defs")
        else _without_more(value)
        for key, value in schema.items()
        if key not in ("default", "discriminator", "uniqueItems") and (key != "format" or value in _FORMATS)
    }
    return {"additionalProperties": False, **closed} if isinstance(schema.get("properties"), dict) else closed


def _instance(kind: type, value: Any) -> Any:
    """Make the instance of a class. From JSON text rather than from values, as a strict model takes a date only so."""
    from pydantic import ValidationError

    try:
        return _adapter(kind).validate_json(json.dumps(value))
    except ValidationError as error:
        told = error.errors(include_url=False, include_context=False)[:3]
        reason = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'it'}: {item['msg']}" for item in told)
    except (Exception, SystemExit) as error:  # noqa: BLE001 (validators and __post_init__ are the user's code)
        reason = format_exception_only(error)[-1].split("\n")[0]  # also of an error whose own __str__ raises
    raise PhiError(f"{kind.__name__} refuses the answer: {reason[:200]}")


def _reason(error: BaseException) -> str:
    """Take the first line of an error, which may be empty."""
    return (str(error).splitlines() or [""])[0]


def _called(value: Any) -> str:
    return f"a {type(value).__name__}"
