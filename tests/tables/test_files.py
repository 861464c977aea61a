"""Tables in files, and the terminal's map over them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phi_magic import Phi, PhiError
from phi_magic.__main__ import main
from phi_magic.tables.files import check_output, read_table, write_table

ROWS = [{"topic": "ice", "n": "1"}, {"topic": 'the "sea", wide', "n": "2"}, {"topic": "snow\nand rain", "n": "3"}]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_what_is_written_is_what_is_read(ending):
    path = Path(f"rows.{ending}")
    write_table(ROWS, path)
    found = read_table(path)
    assert (found.to_pylist() if isinstance(found, pa.Table) else found) == ROWS


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_only_a_line_feed_ends_a_line(ending):
    rows = [{"a": "x\u2028y", "b": "1"}, {"a": "x\x85y\x0cz", "b": "2"}, {"a": "x\x1cy\x0bz", "b": "3"}]
    path = Path(f"rows.{ending}")
    write_table(rows, path)
    assert read_table(path) == rows


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", "\ufeffa,b\n1,x;y\n"),
        ("rows.csv", 'a;b\r\n1;"x;y"\r\n'),
        ("rows.csv", 'a\tb\n1\t"x;y"\n'),
        ("rows.jsonl", '\ufeff{"a": "1", "b": "x;y"}\r\n'),
    ],
    ids=["mark", "semicolons", "tabs", "lines"],
)
def test_what_other_programs_write_is_read(name, content):
    Path(name).write_text(content, encoding="utf-8", newline="")
    assert read_table(Path(name)) == [{"a": "1", "b": "x;y"}]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("rows.txt", "a", r"ends in \.csv, \.jsonl, \.parquet"),
        ("nosuch.csv", None, "cannot be read"),
        ("rows.csv", "", "has no rows"),
        ("rows.csv", "a,b\n1,2,3\n", "more cells than the first line"),
        ("rows.csv", "a,b,a\n1,2,3\n", "two columns have the name 'a'"),
        ("rows.jsonl", '{"a": 1}\n{"a": \n', "cannot be read as jsonl"),
        ("rows.jsonl", "1\n2\n", "no rows with named columns"),
        ("rows.jsonl", "[" * 100_000, "nested too deep"),
        ("rows.csv", b"\xff\xfe\x00", "not in UTF-8"),
        ("rows.parquet", "no parquet", "cannot be read"),
    ],
)
def test_what_is_no_table_is_one_line(name, content, says):
    if content is not None:
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PhiError, match=says) as error:
        read_table(Path(name))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_what_is_no_regular_file_is_refused_before_anything_is_asked(ending):
    path = Path(f"fifo.{ending}")
    os.mkfifo(path)
    for act in (check_output, read_table):
        with pytest.raises(PhiError, match="it is not a regular file"):
            act(path)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_table_that_cannot_be_written_leaves_the_old_one(ending):
    path = Path(f"rows.{ending}")
    write_table(ROWS, path)
    before = path.read_bytes()

    class Broken(dict):
        def items(self, *_):
            raise OSError(28, "No space left on device")

        get = items

    with pytest.raises(PhiError, match="cannot be written"):
        write_table([*ROWS, Broken(a=1)], path)
    assert path.read_bytes() == before
    assert [one.name for one in Path().iterdir()] == [path.name]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_lone_surrogate_is_written_as_a_question_mark(ending):
    path = Path(f"rows.{ending}")
    write_table([{"a": "x\ud800"}], path)
    found = read_table(path)
    assert (found.to_pylist() if isinstance(found, pa.Table) else found) == [{"a": "x?"}]


def test_rows_of_any_json_become_parquet():
    rows = [{"a": "x", "c": {}}, {"a": 1, "b": 2, "c": {}}, {"a": None, "b": 2**70, "c": None}]
    write_table(rows, Path("rows.parquet"))
    assert read_table(Path("rows.parquet")).to_pylist() == [
        {"a": '"x"', "b": None, "c": "{}"},
        {"a": "1", "b": "2", "c": "{}"},
        {"a": None, "b": str(2**70), "c": None},
    ]


def test_a_cell_may_be_a_long_document():
    write_table([{"a": "x" * 200_000}], Path("rows.csv"))
    assert len(read_table(Path("rows.csv"))[0]["a"]) == 200_000


def test_a_link_to_a_table_stays_one():
    Path("link.csv").symlink_to("rows.csv")
    write_table(ROWS, Path("link.csv"))
    assert Path("link.csv").is_symlink()
    assert read_table(Path("rows.csv")) == ROWS


class TestTerminal:
    @pytest.fixture(autouse=True)
    def files(self):
        write_table(ROWS, Path("rows.csv"))
        Path("prompt.txt").write_text("Write a haiku about {{ topic }}\n")

    def run(self, *words):
        return main(["map", "rows.csv", "--template", "prompt.txt", "-m", "demo", "-n", "8", "--seed", "1", *words])

    @pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
    def test_the_answers_are_a_column(self, ending):
        assert self.run("--out", f"answers.{ending}") == 0
        prompts = [f"Write a haiku about {row['topic']}" for row in ROWS]
        alone = Phi(model="demo", max_tokens=8, seed=1).map(prompts, progress=False)
        found = read_table(Path(f"answers.{ending}"))
        rows = found.to_pylist() if isinstance(found, pa.Table) else found
        assert [row["answer"] for row in rows] == [reply.text for reply in alone]
        assert [row["topic"] for row in rows] == [row["topic"] for row in ROWS]

    def test_a_parquet_table_keeps_its_types(self):
        pq.write_table(pa.table({"topic": ["ice", "sea"], "n": [1, 2]}), "rows.parquet")
        words = ["map", "rows.parquet", "--template", "prompt.txt", "--out", "out.parquet", "-m", "demo", "-n", "2"]
        assert main(words) == 0
        assert pl.read_parquet("out.parquet").schema["n"] == pl.Int64

    def test_choices_and_schema_make_columns(self):
        assert self.run("--out", "labels.csv", "--choices", "cold,warm", "--into", "label") == 0
        rows = read_table(Path("labels.csv"))
        assert list(rows[0]) == ["topic", "n", "label", "label_cold", "label_warm"]
        Path("age.json").write_text(json.dumps({"type": "object", "properties": {"age": {"type": "integer"}}}))
        assert self.run("--out", "ages.jsonl", "--schema", "age.json") == 0
        assert "answer_age" in read_table(Path("ages.jsonl"))[0]

    def test_a_cache_goes_on(self, capsys):
        assert self.run("--out", "a.csv", "--cache", "answers.sqlite") == 0
        assert self.run("--out", "b.csv", "--cache", "answers.sqlite") == 0
        assert "3 from the cache" in capsys.readouterr().err
        assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["--out", "nosuch/a.csv"], "no such folder"),
            (["--out", "a.txt"], "ends in"),
            (["--out", "a.csv", "--template", "nosuch.txt"], "cannot be read"),
        ],
    )
    def test_a_mistake_is_one_line_before_anything_is_asked(self, words, says, capsys):
        assert self.run(*words) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("phi-magic map: ")
        assert says in line

    def test_an_unknown_column_is_named(self, capsys):
        Path("prompt.txt").write_text("Write about {{ topc }}")
        assert self.run("--out", "a.csv") == 2
        assert "topc" in capsys.readouterr().err

    def test_without_a_finished_row_the_old_table_stays(self, monkeypatch, capsys):
        def interrupted(*_, **__):
            raise KeyboardInterrupt

        Path("a.csv").write_text("old")
        monkeypatch.setattr("phi_magic.tables.bar.follow", interrupted)
        assert self.run("--out", "a.csv") == 130
        assert "interrupted after 0 of 3 rows" in capsys.readouterr().err
        assert Path("a.csv").read_text() == "old"

    @pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
    def test_ctrl_c_writes_the_finished_rows(self):
        write_table([{"topic": str(number)} for number in range(300)], Path("rows.csv"))
        command = [sys.executable, "-m", "phi_magic", "map", "rows.csv", "--template", "prompt.txt", "--out", "a.csv"]
        command += ["-m", "demo", "-n", "16", "--seed", "1", "--cache", "answers.sqlite"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            log = Path("answers.sqlite-wal")
            while not log.exists() or log.stat().st_size < 50_000:
                assert process.poll() is None
            os.kill(process.pid, signal.SIGINT)
            said = process.stderr.read()
        assert process.returncode == 130
        assert "interrupted after" in said
        rows = read_table(Path("a.csv"))
        assert len(rows) == 300
        assert 0 < sum(bool(row["answer"]) for row in rows) < 300


def test_replay_is_a_subcommand_of_many_notebooks(capsys):
    assert main(["replay", "nosuch.ipynb", "other.ipynb"]) == 2
    assert "nosuch.ipynb: cannot be read" in capsys.readouterr().err
