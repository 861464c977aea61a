"""What the contributor's pages say about the source is true of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
CONTRIBUTING = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ARCHITECTURE = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")


def changes():
    """The rows of the table of typical changes: what to change, and the files to touch."""
    section = CONTRIBUTING.partition("## Where to make a change")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return {row[0]: row[1] for row in rows[1:]}


def named(text):
    """The files and folders that a text names in backticks."""
    words = re.findall(r"`([\w./-]+)`", text)
    return {word for word in words if "/" in word or word.endswith((".py", ".md", ".toml"))}


def test_there_are_twelve_typical_changes_and_most_touch_one_file_or_two():
    assert len(changes()) == 12
    assert sum(len(named(files)) <= 2 for files in changes().values()) >= 10


@pytest.mark.parametrize("change", changes())
def test_the_files_of_a_change_exist(change):
    files = named(changes()[change])
    assert files
    for name in files:
        assert (PROJECT / name).exists(), name


@pytest.mark.parametrize("name", sorted(named(CONTRIBUTING)))
def test_a_file_that_the_contributors_page_names_exists(name):
    assert (PROJECT / name).exists()


@pytest.mark.parametrize("name", sorted(named(ARCHITECTURE)))
def test_a_file_that_the_architecture_names_exists(name):
    assert (PROJECT / "phi_magic" / name).exists()


def test_every_folder_of_the_package_has_its_stage():
    folders = {path.parent.name for path in (PROJECT / "phi_magic").glob("*/__init__.py")}
    assert folders <= set(re.findall(r"^\| `(\w+)/`", ARCHITECTURE, re.MULTILINE))


def test_the_commands_that_it_names_are_in_the_makefile():
    targets = re.findall(r"^([\w-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    commands = set(re.findall(r"(?:`|\$ )make ([a-z]+)", CONTRIBUTING))
    assert {"test", "bench"} <= commands <= set(targets)
