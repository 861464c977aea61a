"""The prompt of each row: its columns, `row` and `index` in a template that is compiled once."""

import datetime as dt

import jinja2
import pandas as pd
import pytest

from phi_magic import PhiError
from phi_magic.tables.filling import RowTemplate
from phi_magic.tables.rows import read_rows

REVIEWS = pd.DataFrame({"text": ["good", None], "stars": [5, 1]}, index=["x", "y"])


def filled(body, data=REVIEWS, **variables):
    return [
        str(prompt) if isinstance(prompt, str) else f"refused: {prompt}"
        for prompt in RowTemplate(body, read_rows(data), variables)
    ]


def test_columns_are_variables_above_the_notebooks():
    assert filled("{{ stars }} {{ label }}", label="mine", stars="hidden") == ["5 mine", "1 mine"]


def test_row_and_index_are_variables():
    assert filled("{{ index }}: {{ row.stars }} {{ row['stars'] }}") == ["x: 5 5", "y: 1 1"]


def test_a_column_goes_before_row_and_index():
    assert filled("{{ index }} {{ row }}", [{"index": 7, "row": "mine"}]) == ["7 mine"]


def test_a_column_whose_name_is_no_word_is_an_item_of_the_row():
    frame = pd.DataFrame({"my city": ["Oslo"]})
    assert filled("{{ row['my city'] }}", frame) == ["Oslo"]
    with pytest.raises(PhiError, match=r"line 1 .* is written row\['my city'\]"):
        filled("{{ my city }}", frame)


def test_a_list_counts_its_rows():
    assert filled("{{ index }} {{ text }}", ["a", "b"]) == ["0 a", "1 b"]


@pytest.mark.parametrize("body", ["{{ text }}", "{{ text.upper() }}", "{{ text | trim }}", "{{ row.text }}"])
def test_a_missing_value_is_an_error_of_its_row(body):
    assert filled(body)[1] == "refused: 'text' is missing"


def test_a_template_may_say_what_stands_for_a_missing_value():
    assert filled("{{ text or 'none' }}") == ["good", "none"]
    assert filled("{{ text | default('none') }}") == ["good", "none"]
    assert filled("{% if text %}{{ text }}{% endif %}!") == ["good!", "!"]


def test_a_whole_row_as_json():
    assert filled("{{ row | tojson }}") == ['{"text": "good", "stars": 5}', '{"text": null, "stars": 1}']
    day = [{"day": dt.date(2026, 1, 2), "note": "it's <é>"}]
    assert filled("{{ row | tojson }}", day) == ['{"day": "2026-01-02", "note": "it\'s <é>"}']


def test_an_error_stays_in_its_row():
    assert filled("{{ 10 // stars }}", [{"stars": 5}, {"stars": 0}, 3]) == [
        "2",
        "refused: a {{ }} of the prompt failed with ZeroDivisionError: integer division or modulo by zero",
        "refused: the row is 3, neither a dict nor a text",
    ]


def test_an_unknown_name_is_answered_with_the_columns():
    assert filled("{{ stairs }}")[0] == "refused: 'stairs' is undefined (columns: text, stars)"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("the same for all", "asks for no column"),
        ("{{ label }}", "asks for no column"),
        ('{{ file("notes.txt") }}', "asks for no column"),
        ("{{ text", "line 1 of the prompt"),
        ("{{ text | nosuch }}", "No filter named 'nosuch'"),
    ],
)
def test_a_mistake_in_the_template_is_one_line(body, says):
    with pytest.raises(PhiError, match=says):
        filled(body, label=1)


def test_the_template_is_compiled_once(monkeypatch):
    compiled = []
    compile_template = jinja2.Environment.from_string
    monkeypatch.setattr(
        jinja2.Environment, "from_string", lambda *given: compiled.append(1) or compile_template(*given)
    )
    assert len(filled("{{ text }}", ["a"] * 500)) == 500
    assert compiled == [1]
