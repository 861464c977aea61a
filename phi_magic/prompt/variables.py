"""A cell's body is a Jinja2 template over the notebook's variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import PhiError

_BRACES = 10_000  # more take jinja2 minutes and gigabytes


def fill(body: str, variables: Mapping[str, Any]) -> str:
    """A cell's body with its ``{{ }}`` filled in; single braces are plain text.

    Raises:
        PhiError: an unknown name, a brace left open, an error in an expression, ten thousand of them.
    """
    count = sum(map(body.count, ("{{", "{%", "{#")))
    if not count:
        return body
    if count > _BRACES:
        raise PhiError(f"the prompt has {count:,} braces to fill in; use --no-vars to send them as they are")
    import jinja2

    # What comes out is a prompt, not a page: nothing is to be escaped.
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)  # noqa: S701
    try:
        return environment.from_string(body).render(variables)
    except jinja2.UndefinedError as error:
        raise PhiError(f"{error.message}: define it first, or use --no-vars to send the braces as they are") from None
    except jinja2.TemplateSyntaxError as error:
        raise PhiError(
            f"line {error.lineno} of the prompt: {error.message}; use --no-vars to send the braces as they are"
        ) from None
    except Exception as error:  # an expression is the user's program: whatever it raises is news about it
        raise PhiError(f"a {{{{ }}}} of the prompt failed with {type(error).__name__}: {error}") from error
