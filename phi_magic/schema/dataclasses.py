"""A dataclass as a JSON schema, and a JSON value as its instance."""

from __future__ import annotations

import dataclasses
import enum
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ..errors import PhiError

_PLAIN: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def schema_of(kind: type) -> dict[str, Any]:
    """The JSON schema of a dataclass: its fields, in their order, and no others; those without a default required.

    Raises:
        PhiError: a field has a type that JSON has no form for.
    """
    definitions: dict[str, Any] = {}
    _define(kind, definitions)
    return {"$ref": f"#/$defs/{kind.__name__}", "$defs": definitions}


def build(kind: Any, value: Any) -> Any:
    """A JSON value that follows a type's schema, as that type: dataclasses, enumerations and tuples made."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return kind(**{name: build(hints[name], item) for name, item in value.items()})
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(value)
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (list, tuple):
        made = [build(inside[0], item) for item in value] if inside else value
        return tuple(made) if origin is tuple else made
    if origin is dict:
        return {key: build(inside[1], item) for key, item in value.items()}
    if origin in (Union, types.UnionType):
        return build(next(part for part in inside if _fits(part, value)), value)
    return float(value) if kind is float else value


def _define(kind: type, definitions: dict[str, Any]) -> None:
    if kind.__name__ in definitions:
        return
    definitions[kind.__name__] = {}  # it may hold itself
    try:
        hints = get_type_hints(kind)
    except NameError as error:
        raise PhiError(f"{kind.__name__}: {error}; define it first") from None
    fields = [field for field in dataclasses.fields(kind) if field.init]
    definitions[kind.__name__] = {
        "type": "object",
        "properties": {
            field.name: _schema(hints[field.name], f"{kind.__name__}.{field.name}", definitions) for field in fields
        },
        "required": _required(kind),
        "additionalProperties": False,
    }


def _required(kind: type) -> list[str]:
    missing = dataclasses.MISSING
    fields = (field for field in dataclasses.fields(kind) if field.init)
    return [field.name for field in fields if field.default is missing and field.default_factory is missing]


def _schema(kind: Any, where: str, definitions: dict[str, Any]) -> dict[str, Any]:
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        _define(kind, definitions)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"enum": [member.value for member in kind]}
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(inside)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(part, where, definitions) for part in inside]}
    if origin is list or (origin is tuple and inside[1:] == (...,)):
        return {"type": "array", "items": _schema(inside[0], where, definitions)}
    if origin is dict and inside[0] is str:
        return {"type": "object", "additionalProperties": _schema(inside[1], where, definitions)}
    raise PhiError(
        f"{where} has a type that JSON has no form for here; there are str, int, float, bool, None, list[…], "
        "tuple[…, ...], dict[str, …], unions, Literal, enumerations and other dataclasses"
    )


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value can be what a part of a union describes."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        names = {field.name for field in dataclasses.fields(kind)}
        needed = set(_required(kind))
        return isinstance(value, dict) and needed <= value.keys() <= names
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return any(value == member.value for member in kind)
    origin = get_origin(kind)
    if origin is Literal:
        return value in get_args(kind)
    if origin in (list, tuple):
        return isinstance(value, list)
    if origin is dict:
        return isinstance(value, dict)
    wanted: Any = (int, float) if kind is float else kind
    return isinstance(value, wanted) and (kind is bool or not isinstance(value, bool))
