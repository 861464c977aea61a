"""The step that installs the package, where something is missing."""

from __future__ import annotations

import pytest

from tools import environment


def test_without_a_compiler_one_line_says_how_to_get_one_and_where_the_ways_without_are(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(environment, "pip_finds", lambda *_: False)  # neither installed nor compiled before
    with pytest.raises(SystemExit) as ended:
        environment.compile_engine()
    assert "\n" not in ended.value.code
    assert "apt-get install g++" in ended.value.code
    assert "docs/install.md" in ended.value.code
    assert "## Without a compiler" in (environment.ROOT / "docs" / "install.md").read_text(encoding="utf-8")


def test_what_is_installed_needs_no_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(environment, "pip_finds", lambda *asked: asked == ("show", "llama-cpp-python"))
    environment.compile_engine()
