"""What a map can be asked of, and how its rows are read."""

import decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from phi_magic import PhiError
from phi_magic.tables.rows import is_missing, read_rows

COLUMNS = {"text": ["good", "bad"], "stars": [5, 1]}


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table], ids=["pandas", "polars", "pyarrow"])
def test_a_table_of_each_library_has_the_same_rows(make):
    rows = read_rows(make(COLUMNS))
    assert list(rows) == [{"text": "good", "stars": 5}, {"text": "bad", "stars": 1}]
    assert rows[1] == {"text": "bad", "stars": 1}
    assert (len(rows), list(rows.columns), list(rows.labels)) == (2, ["text", "stars"], [0, 1])


def test_pandas_rows_are_called_as_its_index_says():
    assert list(read_rows(pd.DataFrame(COLUMNS, index=["x", "x"])).labels) == ["x", "x"]


def test_dicts_and_texts_are_rows():
    rows = read_rows([{"a": 1}, "some text", {"b": 2}])
    assert list(rows) == [{"a": 1}, {"text": "some text"}, {"b": 2}]
    assert rows.columns == ["a", "b", "text"]


@pytest.mark.parametrize("texts", [pd.Series(["a", "b"]), iter(["a", "b"]), np.array(["a", "b"]), ("a", "b")])
def test_any_iterable_of_texts_is_rows(texts):
    assert list(read_rows(texts)) == [{"text": "a"}, {"text": "b"}]


def test_an_item_that_is_no_row_is_an_error_in_its_place():
    first, second = read_rows(["a", float("nan")])
    assert first == {"text": "a"}
    assert str(second) == "the row is nan, neither a dict nor a text"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("abc", "rows are a pandas or Polars DataFrame, .* not a str"),
        ({"text": ["a"]}, "not a dict"),
        (5, "not a int"),
        (pl.LazyFrame(COLUMNS), "the table is lazy: collect"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "unique column names"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(data, says):
    with pytest.raises(PhiError, match=says):
        read_rows(data)


@pytest.mark.parametrize(
    "value", [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT"), decimal.Decimal("NaN")]
)
def test_what_tables_put_for_a_missing_value(value):
    assert is_missing(value)


@pytest.mark.parametrize("value", ["", "nan", 0, 0.0, False, [], [float("nan")], np.array([np.nan, 1]), object()])
def test_what_is_there_is_not_missing(value):
    assert not is_missing(value)
