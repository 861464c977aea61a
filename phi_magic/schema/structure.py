"""What an answer is held to: a JSON schema, from whatever says one, and the object that the answer becomes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import PhiError
from ..paths import expanded, read_text, show_path
from ..reply import Reply
from .dataclasses import build, schema_of
from .extract import data

_TAKES = "a JSON-schema dict, a pydantic model, a dataclass, or the path of a JSON file"


@dataclass(frozen=True)
class Structure:
    """A schema, and what makes an object of a JSON value that follows it.

    The schema is text, since the order of its members is that of the answer's, and a saved notebook sorts what it holds.
    """

    text: str
    build: Callable[[Any], Any] = lambda value: value

    def parse(self, text: str) -> Any:
        """The object of a whole answer.

        Raises:
            PhiError: the answer was cut, or its object refuses it.
        """
        return self.build(data(text))

    def remark(self, reply: Reply) -> str:
        """One line that says so where an answer has no object, else nothing."""
        if reply.data is not None:
            return ""
        try:
            self.parse(reply.text)
        except PhiError as error:
            cut = reply.finish_reason == "length"
            return (
                f"cut by its length: no object (-n {2 * reply.params['max_tokens']} gives more room)"
                if cut
                else str(error)
            )
        return ""


def read(source: Any) -> Structure:
    """The structure that something says: a dict, JSON text, a pydantic model, a dataclass, or a path.

    Raises:
        PhiError: it is none of them, or says a type that JSON has no form for.
    """
    if isinstance(source, Structure):
        return source
    if isinstance(source, str) and source.lstrip().startswith("{"):
        return Structure(source)
    if isinstance(source, str | Path):
        return Structure(_file(expanded(source)))
    if isinstance(source, dict):
        return Structure(_text(source))
    if isinstance(source, type) and hasattr(source, "model_json_schema"):
        return Structure(_text(_closed(source.model_json_schema())), partial(_validated, source))
    if isinstance(source, type) and dataclasses.is_dataclass(source):
        return Structure(_text(schema_of(source)), partial(build, source))
    raise PhiError(f"a schema is {_TAKES}, not {_called(source)}")


def _text(schema: dict[str, Any]) -> str:
    try:
        return json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise PhiError(f"the schema is not JSON: {reason}") from None


def _file(path: Path) -> str:
    try:
        text = read_text(path)
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise PhiError(f"{show_path(path)}: is no JSON schema: {reason}") from None
    if not isinstance(schema, dict):
        raise PhiError(f"{show_path(path)}: is no JSON schema: it holds {_called(schema)}, not an object")
    return text


def _closed(schema: Any) -> Any:
    """A pydantic model's schema, in which an object has no members but those that are named, unless it says so: the
    model would drop or refuse others, and a language model that may invent members does. Where it says ``oneOf``
    (a discriminated union), ``anyOf`` will do, since the model itself decides in the end.
    """
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {
        {"oneOf": "anyOf"}.get(key, key): {name: _closed(item) for name, item in value.items()}
        if key in ("properties", "$defs")
        else _closed(value)
        for key, value in schema.items()
        if key not in ("default", "discriminator")
    }
    return {"additionalProperties": False, **closed} if isinstance(schema.get("properties"), dict) else closed


def _validated(model: Any, value: Any) -> Any:
    """An instance of a pydantic model."""
    try:
        return model.model_validate(value)
    except ValueError as error:  # pydantic's ValidationError is one
        told = error.errors() if hasattr(error, "errors") else []
        places = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'it'}: {item['msg']}" for item in told[:3])
        raise PhiError(f"{model.__name__} refuses the answer: {places or error}") from None


def _called(value: Any) -> str:
    return f"a {type(value).__name__}"
