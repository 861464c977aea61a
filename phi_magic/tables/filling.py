"""A template filled in with each row's columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import StrictUndefined

from ..errors import PhiError
from ..prompt.variables import FUNCTIONS, Template
from .rows import Rows, is_missing

_OF_ROW = ("row", "index")  # what a template has of each row besides its columns


class Missing(StrictUndefined):
    """A value that is not in the table: false in a condition, an error where it would be written.

    Jinja2 treats it as undefined, so that ``{{ text | default("none") }}`` and ``{{ text or "none" }}`` work.
    """

    def __init__(self, name: Any) -> None:
        super().__init__(hint=f"{name!r} is missing", exc=PhiError)  # type: ignore[arg-type]  # any exception will do

    def __bool__(self) -> bool:  # type: ignore[override]  # it raises there
        return False


class RowTemplate:
    """A template over a table's columns, ``row``, ``index`` and, below them, other variables.

    Args:
        body: the template.
        rows: the table.
        variables: what a name means that is none of the row's.

    Raises:
        PhiError: an error in the syntax, or a template that asks for nothing of a row.
    """

    def __init__(self, body: str, rows: Rows, variables: Mapping[str, Any]) -> None:
        columns = [name for name in rows.columns if isinstance(name, str)]
        listed = ", ".join(columns) or "none with a name"
        phrase = next((name for name in columns if not name.isidentifier()), None)
        advice = f"; a column with such a name is written row[{phrase!r}]" if phrase else ""
        self._template = Template(body, on_unknown=f" (columns: {listed})", on_syntax=advice)
        names = self._template.names
        self._rows = rows
        self._shared = {name: variables[name] for name in names if name in variables}
        self._of_row = names & set(_OF_ROW)
        #: The columns that the template asks for by name, in the table's order.
        self.columns = [name for name in columns if name in names]
        known = names <= variables.keys() | FUNCTIONS.keys()
        if len(rows) and known and not (self.columns or self._of_row):
            raise PhiError(f"the template asks for no column, so that all rows get the same prompt (columns: {listed})")

    def __iter__(self) -> Iterator[str | PhiError]:
        """The prompt of each row, or what is wrong with the row."""
        for label, row in zip(self._rows.labels, self._rows, strict=True):
            if isinstance(row, PhiError):
                yield row
                continue
            try:
                yield self._template.fill(self._variables(label, row))
            except PhiError as error:
                yield error

    def _variables(self, label: Any, row: Mapping[Any, Any]) -> dict[str, Any]:
        own = {name: _value(name, row.get(name)) for name in self.columns}
        if "row" in self._of_row:
            own.setdefault("row", {name: _value(name, value) for name, value in row.items()})
        if "index" in self._of_row:
            own.setdefault("index", label)
        return {**self._shared, **own}


def _value(name: Any, value: Any) -> Any:
    return Missing(name) if is_missing(value) else value
