"""Answers as columns: their names, their types, and what stands where there is no answer."""

import json
import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from phi_magic.reply import Reply
from phi_magic.schema.structure import read
from phi_magic.tables.columns import Column, answer_columns, with_columns
from phi_magic.tables.rows import read_rows

TABLE = {"text": ["a", "b", "c"]}
LIBRARIES = pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table], ids=["pandas", "polars", "pyarrow"])


@dataclass
class Fields:
    count: int
    share: float | None
    sure: bool
    kind: Literal["x", "y"]
    tags: list[str]
    note: str


WHOLE = {"count": 3, "share": 2, "sure": True, "kind": "y", "tags": ["p", "q"], "note": "n"}


def reply(text="", finish_reason="stop", *, error="", **more):
    made = Reply("prompt", "demo", {}, 1, text, finish_reason, error=error)
    with suppress(ValueError):
        made.data = json.loads(text)
    vars(made).update(more)
    return made


def added(frame, replies, **options):
    rows = read_rows(frame)
    return with_columns(rows.frame, answer_columns(replies, "answer", **options))


def values(frame, name):
    """A column as a list, with None for every missing value."""
    column = frame[name]
    listed = column.to_pylist() if isinstance(frame, pa.Table) else column.to_list()
    return [None if isinstance(value, float) and math.isnan(value) else value for value in listed]


@LIBRARIES
def test_texts_are_a_column_and_what_is_not_whole_is_null(make):
    frame = added(make(TABLE), [reply("yes"), reply("half", "interrupted"), reply("cut", "length")])
    assert values(frame, "answer") == ["yes", None, "cut"]


@LIBRARIES
def test_errors_have_a_column_where_they_are_kept(make):
    frame = added(make(TABLE), [reply("yes"), reply("", "error", error="too long"), reply("no")], errors=True)
    assert values(frame, "answer") == ["yes", None, "no"]
    assert values(frame, "answer_error") == [None, "too long", None]


@LIBRARIES
def test_a_column_of_the_same_name_is_replaced_in_a_copy(make):
    table = make({"answer": ["old"] * 3})
    assert values(added(table, [reply("new")] * 3), "answer") == ["new"] * 3
    assert values(table, "answer") == ["old"] * 3


def test_the_index_stays_as_it_is():
    table = pd.DataFrame(TABLE, index=["x", "x", "z"])
    frame = added(table, [reply("1"), reply("2"), reply("3")])
    assert list(frame.index) == ["x", "x", "z"]
    assert list(frame.answer) == ["1", "2", "3"]
    frame.loc["z", "text"] = "changed"
    assert list(table.text) == ["a", "b", "c"]


TYPES = {
    pd.DataFrame: ["Int64", "float64", "boolean", "category", "object"],
    pl.DataFrame: ["Int64", "Float64", "Boolean", "Enum(categories=['x', 'y'])", "String"],
    pa.table: ["int64", "double", "bool", "dictionary<values=string, indices=uint32, ordered=0>", "string"],
}


@LIBRARIES
def test_each_field_of_an_object_is_a_column_of_its_type(make):
    replies = [reply(json.dumps(WHOLE)), reply('{"count": 1', "length"), reply(json.dumps({**WHOLE, "share": None}))]
    frame = added(make(TABLE), replies, schema=read(Fields).text)
    names = [f"answer_{name}" for name in WHOLE]
    schema = frame.schema if not isinstance(frame, pd.DataFrame) else frame.dtypes
    types = schema.types if isinstance(frame, pa.Table) else [schema[name] for name in ["text", *names]]
    assert [str(kind) for kind in types[1:-1]] == TYPES[make]
    assert values(frame, "answer_count") == [3, None if make is not pd.DataFrame else pd.NA, 3]
    assert values(frame, "answer_share") == [2, None, None]
    assert values(frame, "answer_kind") == ["y", None, "y"]
    tags = values(frame, "answer_tags")
    assert tags == [["p", "q"], None, ["p", "q"]] if make is pd.DataFrame else ['["p", "q"]', None, '["p", "q"]']


@LIBRARIES
def test_an_answer_that_is_no_object_is_one_column(make):
    frame = added(make(TABLE), [reply("1"), reply("2"), reply("3")], schema='{"type": "integer"}')
    assert values(frame, "answer") == [1, 2, 3]


@LIBRARIES
def test_what_a_type_cannot_hold_does_not_lose_the_answers(make):
    texts = [json.dumps({"n": 2**70, "s": "\ud800"}), '{"n": 1, "s": "b"}', '{"n": 2, "s": "c"}']
    schema = '{"type": "object", "properties": {"n": {"type": "integer"}, "s": {"type": "string"}}}'
    frame = added(make(TABLE), [reply(text) for text in texts], schema=schema)
    assert [int(value) for value in values(frame, "answer_n")] == [2**70, 1, 2]
    assert values(frame, "answer_s")[1:] == ["b", "c"]


@LIBRARIES
def test_a_choice_is_a_category_with_the_probability_of_each(make):
    replies = [
        reply("yes", choices={"yes": 0.75, "no": 0.25}),
        reply("", "interrupted"),
        reply("no", choices={"yes": 0.5, "no": 0.5}),
    ]
    frame = added(make(TABLE), replies, choices=["yes", "no"])
    assert values(frame, "answer") == ["yes", None, "no"]
    assert values(frame, "answer_yes") == [0.75, None, 0.5]
    assert values(frame, "answer_no") == [0.25, None, 0.5]
    if make is pd.DataFrame:
        assert list(frame["answer"].cat.categories) == ["yes", "no"]


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}},
        {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        {"type": ["string", "integer"]},
    ],
)
def test_a_schema_that_names_no_one_type_is_a_column_of_any_json(schema):
    [column] = answer_columns([reply('"x"')], "answer", schema=json.dumps(schema))
    assert column == Column("answer", ["x"])
