"""Render a GGUF's chat template in jinja2's sandbox, with the settings that transformers gives it.

A chat template is a program from elsewhere. The sandbox keeps it from Python's internals, but limits neither its time
nor its memory: the worker process does (:mod:`phi_magic.engine.bound`).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..errors import PhiError


class TemplateRefusal(Exception):
    """The template called ``raise_exception``: it does not take this conversation."""


@dataclass
class TemplateDate:
    """The date that a template reads with ``strftime_now``; ``read`` says whether it did."""

    now: datetime
    read: bool = False

    def strftime(self, pattern: str) -> str:
        self.read = True
        return self.now.strftime(pattern)


def write(source: str, variables: Mapping[str, Any], date: TemplateDate) -> str:
    """Render a chat template.

    Args:
        source: the template's text.
        variables: what it is rendered with; ``messages`` among them.
        date: what ``strftime_now`` reads.

    Raises:
        TemplateRefusal: the template refuses a conversation that begins with a system message.
        PhiError: the template is broken, reaches for Python's internals, or refuses the conversation.
    """
    try:
        return _compiled(source).render(**variables, strftime_now=date.strftime)
    except TemplateRefusal as error:
        if variables["messages"][0]["role"] == "system":
            raise
        raise PhiError(f"the model's chat template refuses the conversation: {_reason(error)}") from None
    except Exception as error:  # a template may raise anything: it is a program from elsewhere
        raise PhiError(
            f"the model's chat template cannot be used ({_reason(error)}); --raw sends the prompt without a template"
        ) from error


def _reason(error: Exception) -> str:
    return str(error)[:300] or type(error).__name__


def _refuse(reason: str) -> None:
    raise TemplateRefusal(reason)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Write JSON as transformers does; jinja2's own filter escapes ``<``, ``>`` and ``&`` for web pages."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class _Generation(Extension):
    """Render the content of ``{% generation %}``, which marks for training what the assistant said."""

    tags = {"generation"}  # noqa: RUF012 (as the base class declares it)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


_ENVIRONMENT = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
)
_ENVIRONMENT.filters["tojson"] = _to_json
_ENVIRONMENT.globals["raise_exception"] = _refuse


@functools.lru_cache(maxsize=8)
def _compiled(source: str) -> jinja2.Template:
    return _ENVIRONMENT.from_string(source)
