"""The benchmark runs, in a small form: a model of two layers, one round. Nothing is said of speed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import busy, report, tables
from benchmarks.__main__ import DOCUMENT, insert
from benchmarks.contenders import PLANS
from benchmarks.plot import plot

PROJECT = Path(__file__).parent.parent

pytestmark = pytest.mark.kernel
_EXAMPLES = {
    "tables": [
        {"rounds": {name: [{"short": {"tokens/s": rate}}] for name, rate in (("phi_magic", ours), ("before", 10))}}
        for ours in (13.9, 14.1)
    ],
    "busy": [{(name, 1): [{"decode": ours if name == busy.OURS else 10}] for name in busy.WAYS} for ours in (6.9, 7.1)],
}
SMALL = "--small --rounds 1 --threads 1 --prefill 64 256 --decode 64 --tokens 8 --answers 8".split()


def bench(folder, *options):
    command = [sys.executable, "-m", "benchmarks", *SMALL, "--folder", str(folder), *options]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return done.stdout, json.loads((folder / "last.json").read_text())


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return bench(tmp_path_factory.mktemp("bench"), "--contenders", "phi_magic", "Llama", "kernel")


def test_everyone_takes_part(small):
    _, results = small
    assert not results["missing"]
    assert set(results["rounds"]) == {"phi_magic", "Llama", "kernel"}
    for name in ("phi_magic", "Llama"):
        [figures] = results["rounds"][name]
        assert set(figures["prefill"]) == {"64", "256"}
        assert set(figures["decode"]) == {"64"}
        assert figures["first_token"] > 0
        assert 0 < figures["resident"] <= figures["peak"]


def test_the_tables_hold_every_measure_and_goal(small):
    printed, results = small
    for title in ("prefill of 256", "decode at 64", "resident", "map", "second turn", "%%phi in a kernel"):
        assert f"| {title}" in printed
    for goal in report.GOALS:
        assert goal.text in printed
    assert results["machine"]["processor"] in printed
    assert "Llama" in plot(results["rounds"])


def test_a_second_turn_reads_only_what_is_new(small):
    _, results = small
    [figures] = results["rounds"]["phi_magic"]
    turn = figures["second turn"]
    assert turn["evaluated_tokens"] <= turn["new_tokens"] + 16


def test_plans_can_be_compared(tmp_path):
    name = "flash, K and V q8_0"
    printed, results = bench(tmp_path, "--plans", "--contenders", name)
    [figures] = results["rounds"][name]
    assert figures["plan"] == figures["plan"] | dict(PLANS[name].plan)
    assert name in printed


def test_an_unknown_contender_is_named(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--contenders", "Nobody", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Nobody" in done.stderr


def test_what_a_quantised_cache_does_is_measured():
    command = [sys.executable, "-m", "benchmarks.cache_types", "--small"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| shipped |")]
    assert len(rows) == 4
    assert all(0 <= float(row.split("|")[3]) < 0.1 for row in rows)


def test_what_speculative_decoding_brings_is_measured():
    command = [sys.executable, "-m", "benchmarks.speculation", "--small", "--threads", "1"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    gains = [line for line in done.stdout.splitlines() if line.startswith(("| copies", "| elsewhere"))]
    assert len(gains) == 4
    assert all(float(cell.split()[0]) > 0 for row in gains for cell in row.split("|")[3:5])


@pytest.mark.parametrize(
    ("name", "rows"), [("worker", 10), ("busy", 12), ("cache", 3), ("conversation", 3), ("cluster", 5), ("servers", 5)]
)
def test_a_comparison_runs_in_its_small_form(name, rows):
    command = [sys.executable, "-m", f"benchmarks.{name}", "--small"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    first = re.split(r"^\| (?:goal|transport) \|", done.stdout, flags=re.MULTILINE)[0]
    table = [line for line in first.splitlines() if line.startswith("| ")][2:]
    assert len(table) == rows
    cells = [cell.split() for row in table for cell in row.split("|")[2:-1][:2] if cell.strip()]
    assert len(cells) >= rows
    assert all(float(cell[0].replace(",", "")) for cell in cells)


@pytest.mark.parametrize(("name", "goals"), [("tables", tables.GOALS), ("busy", busy.GOALS)])
def test_a_comparison_says_whether_its_goals_are_met(name, goals):
    shown = report.goals({"rounds": {}, "memory": []} if name == "tables" else {}, goals)
    assert shown.count("not measured") == len(goals)
    assert {goal.row(dict(met)).split("|")[-2].strip() for goal in goals[:1] for met in _EXAMPLES[name]} == {
        "met",
        "**missed**",
    }


def test_many_rows_are_compared_with_a_commit_that_is_in_the_history():
    command = [sys.executable, "-m", "benchmarks.tables", "--small"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    lines = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("| ")]
    assert all(float(cells[1]) > 0 for cells in lines[2:6])
    there = subprocess.run(["git", "cat-file", "-e", tables.BEFORE], cwd=PROJECT, capture_output=True, check=False)
    assert (f"before ({tables.BEFORE})" in done.stdout) == (there.returncode == 0)
    assert [line[0].strip() for line in lines[-len(tables.GOALS) :]] == [goal.text for goal in tables.GOALS]


def test_the_document_has_a_place_for_every_table(tmp_path):
    document = tmp_path / "performance.md"
    document.write_text(DOCUMENT.read_text())
    for kind in (
        "contenders",
        "plans",
        "cache types",
        "speculation",
        "worker",
        "busy",
        "cache",
        "tables",
        "conversation",
    ):
        insert(document, kind, f"a table of {kind}")
    insert(document, "plans", "another")
    assert "a table of contenders" in document.read_text()
    assert "a table of plans" not in document.read_text()
    assert "another" in document.read_text()
