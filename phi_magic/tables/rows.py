"""What a map is asked of: a table, or any iterable of dicts or texts, read row by row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw

from ..errors import PhiError

_TAKES = "a pandas or Polars DataFrame, a pyarrow Table, or a list of dicts or texts"
_NAME = "text"  # the variable that a row which is a text has


@dataclass(frozen=True)
class Rows:
    """The rows of a table or of a list, in their order.

    ``frame`` is the table; ``records`` are the rows of any other iterable.
    """

    columns: Sequence[Any]
    frame: nw.DataFrame[Any] | None = None
    records: Sequence[Any] = ()

    def __len__(self) -> int:
        return len(self.records) if self.frame is None else len(self.frame)

    def __iter__(self) -> Iterator[dict[Any, Any] | PhiError]:
        """The columns of each row; an error in the place of an item that is no row."""
        if self.frame is not None:
            yield from self.frame.iter_rows(named=True)
        for record in self.records:
            yield _columns_of(record)

    def __getitem__(self, index: int) -> dict[Any, Any]:
        """The columns of one row; none where the item is no row."""
        if self.frame is not None:
            return dict(zip(self.columns, self.frame.row(index), strict=True))
        record = _columns_of(self.records[index])
        return {} if isinstance(record, PhiError) else record

    @property
    def labels(self) -> Sequence[Any]:
        """What each row is called: pandas' index, elsewhere the row's number from 0."""
        index = None if self.frame is None else nw.maybe_get_index(self.frame)
        return range(len(self)) if index is None else index


def read_rows(data: Any) -> Rows:
    """Read a table, or an iterable of dicts or texts, which is gone through once.

    Raises:
        PhiError: it is neither, or two of its columns have the same name.
    """
    try:
        frame = nw.from_native(data, pass_through=True)
    except Exception as error:
        if not isinstance(error, nw.exceptions.NarwhalsError):
            raise
        raise PhiError(f"the table cannot be read: {error}") from None
    if isinstance(frame, nw.LazyFrame):
        raise PhiError("the table is lazy: collect() it first, so that it has rows")
    if isinstance(frame, nw.DataFrame):
        return Rows(frame.columns, frame)
    if isinstance(data, str | bytes | Mapping) or not isinstance(data, Iterable):
        raise PhiError(f"rows are {_TAKES}, not a {type(data).__name__}")
    records = list(data)
    columns = dict.fromkeys(name for record in records if isinstance(record, Mapping) for name in record)
    if any(isinstance(record, str) for record in records):
        columns.setdefault(_NAME)
    return Rows(list(columns), records=records)


def is_missing(value: Any) -> bool:
    """Whether a value is what tables put in the place of one that is not there: None, NaN, NaT, pandas' NA."""
    if value is None or type(value).__name__ == "NAType":
        return True
    # Of all scalars these alone differ from themselves.
    return not hasattr(value, "__len__") and bool(value != value)  # noqa: PLR0124


def _columns_of(record: Any) -> dict[Any, Any] | PhiError:
    if isinstance(record, str):
        return {_NAME: record}
    if isinstance(record, Mapping):
        return dict(record)
    return PhiError(f"the row is {record!r:.40}, neither a dict nor a text")
