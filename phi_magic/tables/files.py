"""Tables in files: CSV, JSON lines, and Parquet where pyarrow is there."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import PhiError
from ..paths import LONGEST, read_text, replacing, show_path
from .columns import encodable

_ENDINGS = (".csv", ".jsonl", ".parquet")


def check_output(path: Path) -> None:
    """Refuse a table that could not be written in the end.

    Raises:
        PhiError: the ending says no format, pyarrow is missing, there is no such folder, or something else than a file
            is there.
    """
    if _ending(path) == ".parquet":
        _parquet(path)
    if not path.absolute().parent.is_dir():
        raise PhiError(f"{show_path(path)}: cannot be written: there is no such folder")
    if path.exists() and not path.is_file():
        raise PhiError(f"{show_path(path)}: cannot be written: it is not a regular file")


def read_table(path: Path) -> Any:
    """Read a table: a pyarrow Table from Parquet, else a list of dicts. A CSV's cells may be parted by semicolons or tabs.

    Raises:
        PhiError: it cannot be read, or is not what its ending says.
    """
    ending = _ending(path)
    if ending == ".parquet":
        parquet = _parquet(path)
        if path.exists() and not path.is_file():
            raise PhiError(f"{show_path(path)}: cannot be read: it is not a regular file")
        try:
            return parquet.read_table(path)
        except (OSError, ValueError) as error:  # pyarrow's errors are of these kinds
            raise PhiError(f"{show_path(path)}: cannot be read: {error}") from None
    try:
        text = read_text(path).removeprefix("\ufeff")  # the byte-order mark that Excel writes
        # str.splitlines would also end a line at a form feed or U+2028, which are characters of a cell.
        rows = _csv(text) if ending == ".csv" else [json.loads(line) for line in text.split("\n") if line.strip()]
    except (ValueError, csv.Error) as error:
        raise PhiError(f"{show_path(path)}: cannot be read as {ending[1:]}: {error}") from None
    except RecursionError:
        raise PhiError(f"{show_path(path)}: its JSON is nested too deep") from None
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise PhiError(f"{show_path(path)}: has no rows with named columns")
    return rows


def write_table(rows: Any, path: Path) -> None:
    """Write a table with its new columns, whole or not at all; a cell without an answer is empty.

    Args:
        rows: a pyarrow Table or a list of dicts.

    Raises:
        PhiError: it cannot be written.
    """
    try:
        with replacing(path) as new:
            _write(rows, new, _ending(path))
    except (OSError, ValueError) as error:  # pyarrow's errors are of these kinds
        reason = getattr(error, "strerror", "") or str(error)
        raise PhiError(f"{show_path(path)}: cannot be written: {reason}") from None


def _write(rows: Any, path: Path, ending: str) -> None:
    if ending == ".parquet":
        _parquet(path).write_table(_arrow(rows) if isinstance(rows, list) else rows, path)
        return
    listed = rows if isinstance(rows, list) else rows.to_pylist()
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        if ending == ".csv":
            writer = csv.DictWriter(file, list(dict.fromkeys(name for row in listed for name in row)))
            writer.writeheader()
            writer.writerows({name: _cell(value) for name, value in row.items()} for row in listed)
        else:
            file.writelines(f"{json.dumps(row, ensure_ascii=False, default=str)}\n" for row in listed)


def _arrow(rows: list[dict[str, Any]]) -> Any:
    """Rows as a pyarrow Table; a column whose cells have no common type is JSON in text."""
    import pyarrow as pa

    table = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [encodable(row.get(name)) for row in rows]
        try:
            table[name] = pa.array(values)
            typed = "struct<>" not in str(table[name].type)  # Parquet has no object without members
        except (pa.ArrowException, OverflowError):  # the second: a number of more than 64 bits
            typed = False
        if not typed:
            table[name] = pa.array([None if value is None else json.dumps(value) for value in values])
    return pa.table(table)


def _csv(text: str) -> list[dict[str, Any]]:
    csv.field_size_limit(LONGEST)  # Python's own limit is 131,072 characters
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    if twice := [name for name, count in Counter(reader.fieldnames or ()).items() if count > 1]:
        raise ValueError(f"two columns have the name {twice[0]!r}")
    rows = list(reader)
    if any(None in row for row in rows):
        raise ValueError("a row has more cells than the first line")
    return rows


def _delimiter(text: str) -> str:
    """What stands between cells: a comma, unless the first line has none and a semicolon or a tab instead."""
    first = next(io.StringIO(text, newline=""), "")
    return next((mark for mark in ",;\t" if mark in first), ",")


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping | list) else value


def _ending(path: Path) -> str:
    if path.suffix.lower() not in _ENDINGS:
        raise PhiError(f"{show_path(path)}: a table's file ends in {', '.join(_ENDINGS)}")
    return path.suffix.lower()


def _parquet(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise PhiError(f"{show_path(path)}: Parquet needs pyarrow: pip install pyarrow") from None
    return pyarrow.parquet


def with_answers(records: Iterable[Any], columns: Iterable[Any]) -> list[dict[str, Any]]:
    """Rows with columns of answers added, as dicts."""
    return [
        {**record, **{column.name: column.values[number] for column in columns}}
        for number, record in enumerate(records)
    ]
