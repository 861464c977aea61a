"""Models that LM Studio has downloaded are used in place, by their names on the hub."""

import json
import os
from importlib.resources import files
from pathlib import Path

import pytest

from phi_magic import Phi, PhiError
from phi_magic.models import files as models
from phi_magic.models import lm_studio

KNOWN = models.KNOWN["phi-3.5-mini"]


@pytest.fixture
def home():
    return Path(os.environ["HOME"])


def put(folder, name, content=b"GGUF"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("folder", [".lmstudio/models", ".cache/lm-studio/models"])
def test_a_hub_s_name_is_the_file_that_it_downloaded(home, folder):
    path = put(home / folder, "owner/repo/model.gguf")
    found = models.resolve("owner/repo/model.gguf")
    assert (found.path, found.place) == (path, "LM Studio")


def test_it_answers_from_where_it_lies_and_nothing_is_copied(home):
    demo = files("phi_magic") / "demo" / "phi-demo.gguf"
    path = put(home / ".lmstudio/models", "owner/repo/model.gguf", demo.read_bytes())
    before = path.stat()
    reply = Phi(model="owner/repo/model.gguf", max_tokens=2)("Write a haiku")
    assert reply.usage.completion_tokens == 2
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert not list(Path(os.environ["HF_HOME"]).rglob("*.gguf"))


def test_a_known_name_is_found_too(home):
    path = put(home / ".lmstudio/models", f"{KNOWN.repo_id}/{KNOWN.filename}")
    found = models.resolve("phi-3.5-mini", download=False)
    assert (found.name, found.path) == ("phi-3.5-mini", path)
    assert models.pull("phi-3.5-mini") == found


def test_a_folder_that_the_user_chose_is_looked_into(home, tmp_path):
    put(home / ".lmstudio", "settings.json", json.dumps({"downloadsFolder": str(tmp_path / "big disk")}).encode())
    path = put(tmp_path / "big disk", "owner/repo/model.gguf")
    assert models.resolve("owner/repo/model.gguf").path == path


def test_a_home_that_was_moved_is_found(home, tmp_path):
    put(home, ".lmstudio-home-pointer", f"{tmp_path / 'moved'}\n".encode())
    path = put(tmp_path / "moved" / "models", "owner/repo/model.gguf")
    assert models.resolve("owner/repo/model.gguf").path == path


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b'{"downloadsFolder": 5}', b"\xff", b"[" * 100_000])
def test_damaged_settings_leave_the_usual_folder(home, damaged):
    put(home / ".lmstudio", "settings.json", damaged)
    put(home, ".lmstudio-home-pointer", damaged[:1])
    path = put(home / ".lmstudio/models", "owner/repo/model.gguf")
    assert models.resolve("owner/repo/model.gguf").path == path


def test_they_are_listed_by_name(home):
    folder = home / ".lmstudio/models"
    put(folder, f"{KNOWN.repo_id}/{KNOWN.filename}")
    put(folder, "owner/repo/model.GGUF")
    put(folder, "owner/repo/mmproj-model.gguf")
    put(folder, "owner/repo/README.md")
    put(folder, "stray.gguf")
    assert [model.name for model in lm_studio.models()] == ["owner/repo/model.GGUF", "phi-3.5-mini"]
    assert [models.resolve(model.name) for model in lm_studio.models()] == lm_studio.models()


def test_without_lm_studio_there_are_none():
    assert lm_studio.models() == []


def test_it_is_the_user_s_to_delete(home):
    path = put(home / ".lmstudio/models", "owner/repo/model.gguf")
    with pytest.raises(PhiError, match="LM Studio's"):
        models.remove("owner/repo/model.gguf")
    assert path.exists()


@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.write_bytes(b"\xff")]
)
def test_a_pointer_that_is_no_text_changes_nothing(home, make):
    path = put(home / ".lmstudio/models", "owner/repo/model.gguf")
    make(home / ".lmstudio-home-pointer")
    assert models.resolve("owner/repo/model.gguf").path == path
