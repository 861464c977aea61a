"""%phi_models in a shell: what there is, and bringing, loading and removing it."""

import hashlib
import json
import os
import shutil
from importlib.resources import files
from pathlib import Path

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError

from phi_magic.catalogue import loaded
from phi_magic.models.files import cached

DEMO = Path(str(files("phi_magic") / "demo" / "phi-demo.gguf"))
TINY = "someone/tiny-gguf/tiny.gguf"


@pytest.fixture
def ip(shell):
    shell.run_line_magic("load_ext", "phi_magic")
    shell.run_line_magic("config", "Phi.model = 'demo'")
    shell.run_line_magic("phi_models", "unload")  # what a test of another file has left in the worker
    return shell


@pytest.fixture
def tiny():
    """A model in the hub's cache, as huggingface_hub lays it out."""
    import huggingface_hub.constants

    folder = Path(huggingface_hub.constants.HF_HUB_CACHE) / "models--someone--tiny-gguf"
    digest = hashlib.sha256(DEMO.read_bytes()).hexdigest()
    for part in ("blobs", "refs", "snapshots/c0ffee"):
        (folder / part).mkdir(parents=True)
    shutil.copy(DEMO, folder / "blobs" / digest)
    (folder / "refs" / "main").write_text("c0ffee")
    (folder / "snapshots" / "c0ffee" / "tiny.gguf").symlink_to(f"../../blobs/{digest}")
    return folder


def shown(ip, line=""):
    ip.display_pub.outputs.clear()
    ip.run_line_magic("phi_models", line)
    return ip.display_pub.outputs[-1]["data"]["text/plain"]


def row(ip, name):
    return next(line for line in shown(ip).splitlines() if line.startswith(name))


class TestList:
    def test_what_is_known_shipped_and_cached(self, ip, tiny):
        assert "shipped" in row(ip, "demo")
        assert "not downloaded" in row(ip, "phi-3-mini-4k")
        told = row(ip, TINY)
        assert "cached" in told
        assert told.rstrip().endswith("yes")

    def test_what_is_loaded(self, ip):
        ip.run_line_magic("phi_models", "load")
        assert "loaded" in row(ip, "demo")
        ip.run_line_magic("phi_models", "unload")
        assert "loaded" not in row(ip, "demo")

    def test_a_loaded_file_without_a_name_is_listed_by_its_path(self, ip):
        shutil.copy(DEMO, "mine.gguf")
        ip.run_line_magic("phi_models", "load mine.gguf")
        assert "loaded" in row(ip, "mine.gguf")

    def test_a_loaded_file_that_was_deleted_is_missing(self, ip):
        shutil.copy(DEMO, "mine.gguf")
        ip.run_line_magic("phi_models", "load mine.gguf")
        Path("mine.gguf").unlink()
        assert "missing" in row(ip, "mine.gguf")

    def test_what_does_not_fit_says_so(self, ip, monkeypatch, tiny):
        from phi_magic import catalogue
        from phi_magic.machine import Budget

        monkeypatch.setattr(catalogue, "available", lambda: Budget(1000, "a test"))
        assert row(ip, TINY).rstrip().endswith("no")
        assert "there is 1 kB (a test)" in shown(ip)

    def test_a_damaged_file_is_named(self, ip, tiny):
        [blob] = (tiny / "blobs").iterdir()
        blob.write_bytes(b"<html>")
        told = " ".join(shown(ip).split())
        assert "damaged" in told
        assert "web page" in told

    def test_what_ollama_and_lm_studio_have(self, ip):
        digest = hashlib.sha256(DEMO.read_bytes()).hexdigest()
        ollama = Path(os.environ["OLLAMA_MODELS"])
        manifest = ollama / "manifests/registry.ollama.ai/library/haiku/latest"
        layer = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}"}
        theirs = Path(os.environ["HOME"]) / ".lmstudio/models" / TINY
        for folder in (manifest.parent, ollama / "blobs", theirs.parent):
            folder.mkdir(parents=True)
        manifest.write_text(json.dumps({"layers": [layer]}))
        shutil.copy(DEMO, ollama / "blobs" / f"sha256-{digest}")
        shutil.copy(DEMO, theirs)
        assert "Ollama" in row(ip, "ollama:haiku")
        assert "LM Studio" in row(ip, TINY)


class TestInfo:
    def test_what_the_gguf_says(self, ip, tiny):
        told = shown(ip, f"info {TINY}")
        for part in (
            "phi3",
            "<|user|>",
            hashlib.sha256(DEMO.read_bytes()).hexdigest(),
            "c0ffee",
            "tokenizer.ggml.model",
        ):
            assert part in told

    def test_without_a_name_it_is_the_model_that_is_set(self, ip):
        assert "phi-demo.gguf" in shown(ip, "info")

    def test_nothing_that_a_file_says_acts_in_the_page(self, ip):
        shown(ip, "info demo")
        page = ip.display_pub.outputs[-1]["data"]["text/markdown"]
        assert "&lt;\\|user\\|&gt;" in page

    @pytest.mark.parametrize("line", ["info my  model.gguf", 'info "my  model.gguf"'])
    def test_a_name_with_blanks(self, ip, line):
        shutil.copy(DEMO, "my  model.gguf")
        assert "my  model.gguf" in shown(ip, line)


class TestRemove:
    def test_it_asks_first(self, ip, tiny, monkeypatch, capsys):
        asked = []
        monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or "")
        ip.run_line_magic("phi_models", f"rm {TINY}")
        assert "nothing was deleted" in capsys.readouterr().out
        assert TINY in asked[0]
        assert [file.name for file in cached()] == [TINY]
        monkeypatch.setattr("builtins.input", lambda question: "y")
        ip.run_line_magic("phi_models", f"rm {TINY}")
        assert "freed" in capsys.readouterr().out
        assert not cached()

    def test_a_loaded_one_is_freed_first(self, ip, tiny):
        ip.run_line_magic("phi_models", f"load {TINY}")
        ip.run_line_magic("phi_models", f"rm -y {TINY}")
        assert loaded() is None
        assert not cached()

    def test_what_is_not_in_the_cache_is_left_to_the_user(self, ip, monkeypatch):
        monkeypatch.setattr("builtins.input", lambda question: pytest.fail("asked"))
        with pytest.raises(UsageError, match="delete the file"):
            ip.run_line_magic("phi_models", "rm demo")
        assert DEMO.exists()


def test_pull_says_where_the_file_is(ip, capsys):
    ip.run_line_magic("phi_models", "pull demo")
    assert str(DEMO) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("lst", "did you mean list?"),
        ("pull", "needs the name"),
        ("rm -y", "needs the name"),
        ("list demo", "takes no name"),
        ("info phi-2", "%phi_models pull phi-2"),
        ("load dmo", "did you mean demo?"),
        ("info nope.gguf", "no such file"),
    ],
)
def test_a_mistake_is_one_line(ip, line, says):
    with pytest.raises(UsageError) as error:
        ip.run_line_magic("phi_models", line)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_tab_completes_actions_and_models(ip, tiny):
    def offered(line):
        with provisionalcompleter():
            return [completion.text for completion in ip.Completer.completions(line, len(line))]

    assert "pull" in offered("%phi_models pu")
    assert "phi-2" in offered("%phi_models info phi-2")
    assert TINY in offered("%phi_models rm someone")
    assert TINY in offered("%phi -m someone")
