"""Check whether a JSON value follows a JSON schema.

A grammar holds an answer to its schema while the answer is written, but not in every detail: llguidance 1.9 compares
numbers as 64-bit floats, and ``0 < x < 0.5`` lets it write 0. A server may ignore a schema. So every whole answer is
checked again, by jsonschema-rs. Compared with the package ``jsonschema`` (4.26) it takes 0.03 s to import where that
takes 1 s, it knows that 0.3 is a multiple of 0.1, its regular expressions are those of JSON Schema (``$`` matches no
line break, ``\\d`` no Arabic digit) and need linear time, so that no pattern can make it hang.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..errors import PhiError

if TYPE_CHECKING:
    from jsonschema_rs import Validator

#: Visits of a value by a schema that one check may take. A visit takes some 20 ns, and nothing can interrupt the check.
MOST_VISITS = 10_000_000

_ROOT = "urn:schema"


def check_schema(schema: str) -> None:
    """Check that a text is a JSON schema.

    Raises:
        PhiError: It is not, or it refers to another document.
    """
    _validator(schema)


def check(schema: str, value: Any) -> None:
    """Check that a JSON value follows a schema.

    Args:
        schema: JSON Schema, as text. The draft is the one that ``$schema`` names, 2020-12 without it.
        value: What ``json.loads`` made of an answer.

    Raises:
        PhiError: The value breaks the schema, the schema is none, or the check would take too long.
    """
    validator = _validator(schema)
    if "$ref" in schema and _visits(json.loads(schema), value) > MOST_VISITS:
        raise PhiError("the answer cannot be checked: its schema refers to the same definitions too often")
    for error in validator.iter_errors(value):
        place = ".".join(map(str, error.instance_path))
        raise PhiError(f"the answer breaks its schema: {place + ': ' if place else ''}{error.message[:200]}")


@lru_cache(maxsize=16)
def _validator(schema: str) -> Validator:
    from jsonschema_rs import RegexOptions, ValidationError, validator_for

    try:
        return validator_for(
            json.loads(schema), retriever=_retrieve, pattern_options=RegexOptions(), validate_formats=True
        )
    except ValidationError as error:
        place = ".".join(map(str, error.instance_path))
        reason = f"{place}: {error.message}" if place else error.message
    except (ValueError, RecursionError) as error:
        deep = isinstance(error, RecursionError) or "Recursion limit" in str(error)
        reason = "it is nested too deep" if deep else str(error)
    raise PhiError(f"the schema is no JSON schema: {reason[:200]}")


def _retrieve(uri: str) -> Any:
    raise ValueError("a schema may refer only to its own definitions")


def _visits(schema: Any, value: Any) -> int:
    """Count how often a validator visits the parts of a value, at most.

    Forty definitions of which each refers twice to the next one make a validator visit a value 2**40 times. llguidance
    takes such a schema without trouble, so it can reach the check.
    """
    from jsonschema_rs import ReferencingError, Registry

    resolver = Registry([(_ROOT, schema)], retriever=_retrieve).resolver(schema.get("$id", _ROOT))
    definition = lru_cache(maxsize=None)(lambda reference: resolver.lookup(reference).contents)
    counts: dict[tuple[int, int], int] = {}

    def count(schema: Any, value: Any) -> int:
        if not isinstance(schema, dict):
            return 1
        pair = id(schema), id(value)
        if pair not in counts:
            counts[pair] = 0  # a definition that leads back to itself is not followed a second time
            target = [(definition(schema["$ref"]), value)] if "$ref" in schema else []
            counts[pair] = 1 + sum(count(*applied) for applied in (*target, *_applied(schema, value)))
        return counts[pair]

    try:
        return count(schema, value)
    except (ReferencingError, RecursionError) as error:
        raise PhiError(f"the answer cannot be checked: {error}") from None


def _applied(schema: dict[str, Any], value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the parts of a schema that apply to a value or its items, each with what it applies to."""
    for keyword in ("allOf", "anyOf", "oneOf"):
        yield from ((part, value) for part in schema.get(keyword, ()))
    yield from ((schema[keyword], value) for keyword in ("not", "if", "then", "else") if keyword in schema)
    yield from ((part, value) for part in schema.get("dependentSchemas", {}).values())
    if isinstance(value, dict):
        named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        others = [schema.get("additionalProperties"), schema.get("unevaluatedProperties"), *patterns.values()]
        yield from ((part, item) for name, item in value.items() for part in (named.get(name), *others))
    elif isinstance(value, list):
        keywords = ("items", "prefixItems", "additionalItems", "unevaluatedItems", "contains")
        found = [schema[keyword] for keyword in keywords if keyword in schema]
        parts = [part for entry in found for part in (entry if isinstance(entry, list) else [entry])]
        yield from ((part, item) for item in value for part in parts)
