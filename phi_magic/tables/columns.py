"""Replies as the columns of a table: their texts, the fields of their objects, the probabilities of choices."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw

from ..rendering.extract import data
from ..reply import Reply

_SCALARS = {"string": nw.String(), "integer": nw.Int64(), "number": nw.Float64(), "boolean": nw.Boolean()}
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True)
class Column:
    """One column of answers, null where a row has none. Without a ``dtype`` the values are any JSON."""

    name: str
    values: Sequence[Any]
    dtype: Any = None


def answer_columns(
    replies: Sequence[Reply],
    into: str,
    *,
    schema: str | None = None,
    choices: Sequence[str] = (),
    errors: bool = False,
) -> list[Column]:
    """The columns of replies; a row whose answer was interrupted or refused has nulls.

    Args:
        replies: one for each row.
        into: the name of the column, and the beginning of the names where there are several.
        schema: the JSON schema of the answers, as text: each of its members has a column, where it says an object.
        choices: the texts that an answer is one of: each has a column with its probability.
        errors: whether there is a column that says why a row has no answer.
    """
    whole = [reply if reply.finish_reason in ("stop", "length") else None for reply in replies]
    if schema is not None:
        found = _data_columns(
            [data(reply.text) if reply and reply.data is not None else None for reply in whole], into, schema
        )
    else:
        texts = [reply.text if reply else None for reply in whole]
        found = [Column(into, texts, nw.Enum(list(dict.fromkeys(choices))) if choices else nw.String())]
        for choice in dict.fromkeys(choices):
            chances = [reply.choices.get(choice) if reply else None for reply in whole]
            found.append(Column(f"{into}_{choice}", chances, nw.Float64()))
    if errors:
        found.append(Column(f"{into}_error", [reply.error or None for reply in replies], nw.String()))
    return found


def _data_columns(values: Sequence[Any], into: str, schema: str) -> list[Column]:
    """The columns of JSON values that follow a schema."""
    root = json.loads(schema)
    top = _resolved(root, root)
    members = top.get("properties")
    if not (isinstance(members, dict) and members):
        return [Column(into, values, _dtype(top, root))]
    return [
        Column(
            f"{into}_{name}",
            [value.get(name) if isinstance(value, dict) else None for value in values],
            _dtype(member, root),
        )
        for name, member in members.items()
    ]


def _dtype(schema: Any, root: Mapping[str, Any]) -> Any:
    """The type of a column of JSON values that follow a schema; None where several types are possible."""
    schema = _resolved(schema, root)
    if texts := schema.get("enum"):
        return nw.Enum(list(dict.fromkeys(texts))) if all(isinstance(text, str) for text in texts) else None
    return _SCALARS.get(schema.get("type", ""))


def _resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema with its references followed, and without the null that an optional member may be."""
    for _ in range(100):  # references may go in a circle
        if not isinstance(schema, dict):
            return {}
        branches = schema.get("anyOf")
        if isinstance(branches, list):
            others = [branch for branch in branches if branch != {"type": "null"}]
            if len(others) != 1:
                return {}
            schema = others[0]
        elif isinstance(reference := schema.get("$ref"), str) and reference.startswith("#/"):
            schema = root
            for part in reference[2:].split("/"):
                schema = schema.get(part, {})
        else:
            break
    if isinstance(kinds := schema.get("type"), list):
        others = [kind for kind in kinds if kind != "null"]
        return {**schema, "type": others[0] if len(others) == 1 else ""}
    return {**schema}


def with_columns(frame: nw.DataFrame[Any], columns: Sequence[Column]) -> Any:
    """A copy of a table with columns added; one of the same name is replaced. The index stays as it is."""
    made = [_series(column, frame) for column in columns]
    return frame.clone().with_columns(*made).to_native()


def _series(column: Column, frame: nw.DataFrame[Any]) -> nw.Series[Any]:
    """A column in the form of the library whose table it goes into."""
    values, dtype = column.values, column.dtype
    if not all(value is None or _fits(value, dtype) for value in values):
        dtype = None
    if not frame.implementation.is_pandas_like():
        if dtype is None:
            values, dtype = [None if value is None else json.dumps(value) for value in values], nw.String()
        elif frame.implementation.is_pyarrow() and isinstance(dtype, nw.Enum):
            dtype = nw.Categorical()
        return nw.new_series(column.name, [encodable(value) for value in values], dtype, backend=frame.implementation)
    # pandas has null in whole numbers and booleans in its own nullable types alone, which narwhals 2 does not make.
    library = nw.get_native_namespace(frame)
    own: Any = {nw.Int64: "Int64", nw.Float64: "float64", nw.Boolean: "boolean", nw.String: None}.get(
        type(dtype), "object"
    )
    if isinstance(dtype, nw.Enum):
        own = library.CategoricalDtype(dtype.categories)
    return nw.from_native(library.Series(list(values), dtype=own, name=column.name), series_only=True)


def _fits(value: Any, dtype: Any) -> bool:
    """Whether a column of this type can hold a JSON value."""
    if isinstance(dtype, nw.Enum):
        return value in dtype.categories
    if isinstance(dtype, nw.Boolean):
        return isinstance(value, bool)
    if isinstance(dtype, nw.Int64):
        return type(value) is int and value in _INT64
    if isinstance(dtype, nw.Float64):
        return type(value) is float or (type(value) is int and value in _INT64)
    return isinstance(dtype, nw.String) and isinstance(value, str)


def encodable(value: Any) -> Any:
    """A text without the lone surrogates that JSON can spell, and Arrow and Polars cannot hold."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
