"""What the README points at is there; tests/test_docs.py runs its cells."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
README = (PROJECT / "README.md").read_text(encoding="utf-8")
LINKS = sorted({link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("https:")})


@pytest.mark.parametrize("link", LINKS)
def test_what_it_links_to_is_in_the_repository(link):
    assert (PROJECT / link.partition("#")[0]).exists()


def test_its_commands_are_in_the_makefile():
    targets = re.findall(r"^([\w-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    commands = set(re.findall(r"(?:`|\$ )make ([a-z]+)", README))
    assert {"demo", "lab"} <= commands <= set(targets)
