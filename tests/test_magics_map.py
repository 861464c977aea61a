"""%%phi_map: a table in, columns of answers out, and what is shown meanwhile."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import pandas as pd
import polars as pl
import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError

from phi_magic import Phi, Reply

HAIKU = "Write a haiku about {{ topic }}"
TOPICS = {"topic": ["ice", "the sea", "rain"], "n": [1, 2, 3]}


@dataclass
class Weather:
    sky: Literal["clear", "clouds"]
    degrees: int


@pytest.fixture
def ip(shell):
    shell.run_line_magic("load_ext", "phi_magic")
    shell.run_line_magic("config", "Phi.model = 'demo'")
    shell.run_line_magic("config", "Phi.max_tokens = 20")
    shell.user_ns.update(df=pd.DataFrame(TOPICS, index=[7, 8, 8]), Weather=Weather)
    return shell


def mapped(ip, line, cell=HAIKU, name="out"):
    ip.run_cell_magic("phi_map", f"{line} -o {name}", cell)
    return ip.user_ns[name]


def shown(ip):
    return ip.display_pub.outputs[-1]["data"]["text/plain"]


def test_answers_are_a_column_of_a_copy(ip):
    out = mapped(ip, "df --seed 1")
    assert list(out.columns) == ["topic", "n", "answer"]
    assert list(out.index) == [7, 8, 8]
    prompts = [f"Write a haiku about {topic}" for topic in TOPICS["topic"]]
    alone = Phi(model="demo", max_tokens=20, seed=1).map(prompts, progress=False)
    assert list(out.answer) == [reply.text for reply in alone]
    assert list(ip.user_ns["df"].columns) == ["topic", "n"]


def test_the_table_may_have_its_own_variable_again(ip):
    mapped(ip, "df --seed 1", name="df")
    again = mapped(ip, "df --seed 1", name="df")
    assert list(again.columns) == ["topic", "n", "answer"]


def test_an_expression_without_spaces_is_a_table_too(ip):
    assert len(mapped(ip, "df.head(2) -n 2")) == 2


def test_notebook_variables_stand_below_the_columns(ip):
    ip.user_ns.update(style="short", topic="hidden")
    replies = mapped(ip, "df.to_dict('records') -n 2", "Write a {{ style }} haiku about {{ topic }}")
    assert replies[0].prompt == "Write a short haiku about ice"


def test_a_schema_makes_a_column_of_each_field(ip):
    ip.user_ns["df"] = pl.DataFrame(TOPICS)
    out = mapped(ip, "df --schema Weather --seed 3 --into weather -n 60", "Write a JSON object for {{ topic }}")
    assert out.columns == ["topic", "n", "weather_sky", "weather_degrees"]
    assert out.schema["weather_degrees"] == pl.Int64
    assert out["weather_sky"].is_in(["clear", "clouds"]).all()


def test_other_iterables_give_replies(ip):
    ip.user_ns["texts"] = ["ice", "the sea"]
    replies = mapped(ip, "texts --seed 2 -n 5", "Write a haiku about {{ text }}")
    assert [reply.prompt for reply in replies] == ["Write a haiku about ice", "Write a haiku about the sea"]
    assert all(isinstance(reply, Reply) and reply.text for reply in replies)


def test_a_table_without_rows_has_the_column_too(ip):
    out = mapped(ip, "df[:0]")
    assert list(out.columns) == ["topic", "n", "answer"]
    assert shown(ip) == "0 rows · 0 tokens · 0 failed · 0 s"


def test_answers_that_make_no_object_are_counted_with_the_reason(ip):
    ip.user_ns["Weather"] = {"type": "object", "properties": {"sky": {"enum": ["clear", "snow"]}}, "required": ["sky"]}
    out = mapped(ip, "df --schema Weather -n 3")
    assert out.answer_sky.isna().all()
    said = shown(ip).splitlines()[0]
    assert f"· {len(out)} without an object: cut at -n 3, before the object was whole: raise -n" in said


def test_rows_that_cannot_be_asked_are_named_before_anything_is_computed(ip):
    ip.user_ns["df"] = pd.DataFrame({"topic": ["ice", None, "rain", None]})
    with pytest.raises(UsageError, match=r"2 of 4 rows cannot be asked\. rows 1, 3: 'topic' is missing"):
        mapped(ip, "df")
    assert "out" not in ip.user_ns


def test_a_row_that_cannot_be_asked_may_stay_alone(ip):
    ip.user_ns["df"] = pd.DataFrame({"topic": ["ice", None, "rain " * 9000]})
    out = mapped(ip, "df --on-error keep")
    assert out.answer.notna().tolist() == [True, False, False]
    assert out.answer_error.isna().tolist() == [True, False, False]
    assert out.answer_error[1] == "'topic' is missing"
    assert "tokens, the context" in out.answer_error[2]
    assert "· 2 failed ·" in shown(ip)


def test_a_preview_of_the_first_rows_stands_below_the_figures(ip):
    ip.user_ns["df"] = pd.DataFrame({"topic": [f"day {n} " + "x" * 300 for n in range(40)]})
    mapped(ip, "df -n 2 --seed 1")
    text = shown(ip)
    assert text.startswith("40 rows · 80 tokens · 0 failed · ")
    assert sum("day" in line for line in text.splitlines()) == 10
    assert "x" * 201 not in text
    output = ip.display_pub.outputs[-1]
    assert "| topic | answer |" in output["data"]["text/markdown"]
    assert len(output["metadata"]["phi_magic"]["replies"]) == 10


def test_nothing_in_a_row_or_an_answer_acts(ip):
    ip.user_ns["df"] = pd.DataFrame({"topic": ["<script>alert(1)</script>\x1b[31m"]})
    mapped(ip, "df -n 2")
    data = ip.display_pub.outputs[-1]["data"]
    assert "<script" not in data["text/markdown"]
    assert "\x1b" not in data["text/plain"]


def test_without_a_variable_it_says_so(ip):
    ip.run_cell_magic("phi_map", "df -n 2", HAIKU)
    assert "-o VAR would bind the answers" in shown(ip)


def test_quiet_shows_nothing(ip):
    mapped(ip, "df -n 2 -q")
    assert not ip.display_pub.outputs


@pytest.mark.parametrize(
    ("line", "cell", "says"),
    [
        ("", HAIKU, "needs the rows"),
        ("frame", HAIKU, "there is no variable frame; did you mean"),
        ("df.haed()", HAIKU, "failed with AttributeError"),
        ("df Write a haiku", HAIKU, "'Write a haiku' stands beside df"),
        ("-s be brief df", HAIKU, "'df' stands beside brief .* write --system 'be brief'"),
        ("df -s be brief", HAIKU, "'brief' stands beside df .* write --system 'be brief'"),
        ("-s be brief", HAIKU, "no variable brief.*write --system 'be brief'"),
        ("df --in-to x", HAIKU, "did you mean --into?"),
        ("df --on-error ignore", HAIKU, "on_error is stop or keep, not 'ignore'"),
        ("df --choices error,ok --on-error keep", HAIKU, "would both be the column 'answer_error'"),
        ("df -o 2", HAIKU, "-o needs the name of a variable"),
        ("df -t 9", HAIKU, "temperature must be a number from 0 to 5"),
        ("df", "{{ topik }}", r"'topik' is undefined \(columns: topic, n\)"),
        ("df", "Write a haiku", "asks for no column"),
        ("df", "{{ topic", "line 1 of the prompt"),
        ("df --schema Wether", HAIKU, "there is no variable Wether"),
        ("3", HAIKU, "rows are a pandas or Polars DataFrame"),
    ],
)
def test_a_mistake_is_one_line(ip, line, cell, says):
    ip.user_ns["frames"] = [1]
    with pytest.raises(UsageError, match=says):
        ip.run_cell_magic("phi_map", line, cell)


def test_tab_completes_tables_and_options(ip):
    def offered(line):
        with provisionalcompleter():
            return [completion.text for completion in ip.Completer.completions(line, len(line))]

    assert "df" in offered("%%phi_map d")
    assert "--on-error" in offered("%%phi_map --on")


def test_an_executor_answers(ip):
    with ThreadPoolExecutor(1) as ip.user_ns["pool"]:
        out = mapped(ip, "df --seed 1 --executor pool", name="there")
    assert list(out.answer) == list(mapped(ip, "df --seed 1").answer)


def test_an_executor_that_is_not_there_is_named(ip):
    ip.user_ns["pool"] = ThreadPoolExecutor(1)
    with pytest.raises(UsageError, match="no variable pol; did you mean pool"):
        mapped(ip, "df --executor pol")


def test_a_cache_file_may_be_named_after_the_table(ip):
    mapped(ip, "df --seed 1 --cache answers.sqlite")
    assert "3 from the cache" not in shown(ip)
    mapped(ip, "df --seed 1 --cache answers.sqlite")
    assert "3 from the cache" in shown(ip)


def test_choices_make_a_category_and_their_probabilities(ip):
    out = mapped(ip, "df --choices yes,no -t 0", "Is {{ topic }} cold?")
    assert list(out.columns[2:]) == ["answer", "answer_yes", "answer_no"]
    assert list(out.answer.cat.categories) == ["yes", "no"]
    assert ((out.answer_yes + out.answer_no - 1).abs() < 1e-6).all()
