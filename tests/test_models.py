"""From a name to a file, without a network: what ships, what lies on the disk, what is in the hub's cache."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from phi_magic import Phi, PhiError
from phi_magic.gguf.checks import read_header
from phi_magic.models import files as models

COMMIT, OLDER = "a" * 40, "b" * 40
PHI_3 = models.KNOWN["phi-3-mini-4k"]


@pytest.fixture(autouse=True)
def no_sockets(monkeypatch):
    """Whatever opens a connection here is wrong."""

    def refuse(*args):
        pytest.fail(f"a connection to {args[1]}")

    monkeypatch.setattr("socket.socket.connect", refuse)


@pytest.fixture
def cache(tmp_path):
    """Puts a file into huggingface_hub's cache as huggingface_hub would."""

    def put(repo_id, filename, content=b"GGUF", *, commit=COMMIT, main=True, links=True):
        folder = tmp_path / "hf_home" / "hub" / f"models--{repo_id.replace('/', '--')}"
        blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
        entry = folder / "snapshots" / commit / filename
        for parent in (blob.parent, entry.parent, folder / "refs"):
            parent.mkdir(parents=True, exist_ok=True)
        if links:
            blob.write_bytes(content)
            if not entry.is_symlink():
                entry.symlink_to(os.path.relpath(blob, entry.parent))
        else:
            entry.write_bytes(content)
        if main:
            (folder / "refs" / "main").write_text(commit)
        return entry

    return put


def refusal(name, **options):
    with pytest.raises(PhiError) as caught:
        models.resolve(name, **options)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_the_shipped_model_is_there_and_sound():
    found = models.resolve("demo")
    assert found.name == "demo"
    assert found.repo_id is None
    assert found.sha256 == hashlib.sha256(found.path.read_bytes()).hexdigest()
    assert read_header(found.path).architecture == "phi3"


def test_the_default_is_known():
    assert models.DEFAULT in models.KNOWN


def test_a_path_is_taken_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "my.gguf").write_bytes(b"GGUF")
    found = models.resolve(str(tmp_path / "my.gguf"))
    assert (found.path, found.repo_id, found.sha256) == (tmp_path / "my.gguf", None, None)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert models.resolve("~/my.gguf").path == tmp_path / "my.gguf"


def test_a_path_goes_before_a_hubs_name(cache):
    cache("owner/repo", "model.gguf")
    assert models.resolve("owner/repo/model.gguf", download=False).repo_id == "owner/repo"
    Path("owner/repo").mkdir(parents=True)
    Path("owner/repo/model.gguf").write_bytes(b"GGUF")
    assert models.resolve("owner/repo/model.gguf").repo_id is None


def test_a_known_name_goes_before_a_path():
    Path("demo").mkdir()
    assert models.resolve("demo").path.name == "phi-demo.gguf"


def test_a_cached_model_is_found_with_its_hash(cache):
    entry = cache(PHI_3.repo_id, PHI_3.filename, b"the model")
    found = models.resolve("phi-3-mini-4k")
    assert (found.path, found.revision) == (entry, COMMIT)
    assert found.sha256 == hashlib.sha256(b"the model").hexdigest()
    assert models.resolve(f"{PHI_3.repo_id}/{PHI_3.filename}") == found


def test_a_cached_file_without_links_has_no_hash_yet(cache):
    entry = cache("owner/repo", "part/model.gguf", b"the model", links=False)
    found = models.resolve("owner/repo/part/model.gguf")
    assert (found.path, found.revision, found.sha256) == (entry, COMMIT, None)
    assert models.file_sha256(found.path) == hashlib.sha256(b"the model").hexdigest()


def test_a_model_that_reasons_is_known_by_name(cache):
    known = models.KNOWN["phi-4-mini-reasoning"]
    entry = cache(known.repo_id, known.filename)
    assert models.resolve("phi-4-mini-reasoning", download=False).path == entry


def test_a_path_with_blanks_is_taken(tmp_path):
    path = tmp_path / "my  own model.gguf"
    path.write_bytes(b"GGUF")
    assert models.resolve(str(path)).path == path
    assert models.file_sha256(path) == hashlib.sha256(b"GGUF").hexdigest()


@pytest.mark.skipif(sys.platform == "darwin", reason="the file system takes UTF-8 alone")
def test_a_path_that_is_no_utf_8_is_one_line(tmp_path):
    path = tmp_path / os.fsdecode(b"m\xf6del.gguf")
    path.write_bytes(b"GGUF")
    assert "the path is not UTF-8; rename the file" in refusal(str(path))


def test_what_is_not_here_is_not_fetched_unasked():
    assert "to download it: %phi_models pull phi-2" in refusal("phi-2", download=False)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("phi-3", "unknown model 'phi-3'; did you mean phi-3-mini-4k or phi-3.5-mini?"),
        ("phi3", "unknown model 'phi3'; did you mean phi-3-mini-4k or phi-3.5-mini?"),
        ("phi4mini", "unknown model 'phi4mini'; did you mean phi-4-mini?"),
        ("phi2", "unknown model 'phi2'; did you mean phi-2?"),
        ("", "unknown model ''"),
        ("localhost:8000/v1", "http://HOST:PORT/v1#MODEL"),
        ("   ", "unknown model '   '"),
        ("a\0b", "unknown model 'a\\x00b'"),
        ("x" * 10_000, "unknown model 'xxx"),
        ("owner/repo", "owner/repo names a repository; name the file in it: owner/repo/FILE.gguf"),
        ("./nothing.gguf", "./nothing.gguf: no such file"),
        ("~/nothing", "~/nothing: no such file"),
        ("~nobody-of-that-name/x.gguf", "no such file"),
        ("../../x.gguf", "no such file"),
        ("owner/../x.gguf", "no such file"),
        ("ow\nner.gguf", "no such file"),
        ("\udcff.gguf", "no such file"),
        ("-owner-/repo/x.gguf", "-owner-/repo"),
    ],
)
def test_a_name_that_means_nothing_is_one_line(name, complaint):
    assert complaint in refusal(name, download=False)


def test_a_mistyped_path_names_its_neighbour():
    Path("phi-small.gguf").write_bytes(b"GGUF")
    assert "did you mean phi-small.gguf?" in refusal("./phi-smal.gguf")


def test_every_cached_gguf_is_listed(cache):
    assert models.cached() == []
    cache(PHI_3.repo_id, PHI_3.filename)
    cache("someone/else", "deep/other.gguf", b"other")
    cache("someone/else", "README.md", b"text")
    assert [model.name for model in models.cached()] == ["phi-3-mini-4k", "someone/else/deep/other.gguf"]


def test_of_two_revisions_the_current_one_is_listed(cache):
    new = cache("owner/repo", "model.gguf", b"new")
    cache("owner/repo", "model.gguf", b"old", commit=OLDER, main=False)
    assert [model.path for model in models.cached()] == [new]


def test_an_unreadable_cache_is_one_line(tmp_path):
    (tmp_path / "hf_home").mkdir()
    (tmp_path / "hf_home" / "hub").write_text("")
    with pytest.raises(PhiError, match="cannot be read"):
        models.cached()


def test_removing_frees_every_revision_and_nothing_else(cache):
    entries = [
        cache("owner/repo", "model.gguf", b"new model"),
        cache("owner/repo", "model.gguf", b"old", commit=OLDER, main=False),
    ]
    other = cache("owner/repo", "other.gguf", b"other")
    assert models.remove("owner/repo/model.gguf") == len(b"new model") + len(b"old")
    assert not any(os.path.lexists(entry) for entry in entries)
    assert other.read_bytes() == b"other"
    assert [model.name for model in models.cached()] == ["owner/repo/other.gguf"]


def test_removing_keeps_a_file_that_goes_by_two_names(cache):
    cache("owner/repo", "model.gguf", b"same")
    twin = cache("owner/repo", "twin.gguf", b"same")
    assert models.remove("owner/repo/model.gguf") == 0
    assert twin.read_bytes() == b"same"


def test_removing_the_last_file_leaves_nothing(cache):
    entry = cache("owner/repo", "model.gguf", links=False)
    assert models.remove("owner/repo/model.gguf") == 4
    assert not entry.parents[2].exists()
    with pytest.raises(PhiError, match="is not in the cache"):
        models.remove("owner/repo/model.gguf")


def test_only_the_cache_is_removed_from(tmp_path):
    path = tmp_path / "mine.gguf"
    path.write_bytes(b"GGUF")
    for name in ("demo", str(path)):
        with pytest.raises(PhiError, match=r"delete the file .* yourself"):
            models.remove(name)
    assert path.exists()


def test_neither_the_shipped_model_nor_a_path_needs_the_hub(tmp_path):
    (tmp_path / "my.gguf").write_bytes(b"GGUF")
    code = (
        "import sys; from phi_magic.models.files import resolve; resolve('demo'); resolve(sys.argv[1]); "
        "print('huggingface_hub' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "my.gguf")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_the_hubs_telemetry_is_off_and_the_environment_as_it_was():
    code = (
        "import os; from phi_magic.models.files import cached; cached(); import huggingface_hub.constants as c; "
        "print(c.HF_HUB_DISABLE_TELEMETRY, 'HF_HUB_DISABLE_TELEMETRY' in os.environ)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_DISABLE_TELEMETRY"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "True False\n"


def test_a_variable_that_huggingface_hub_cannot_read_is_one_line():
    code = "from phi_magic.models.files import cached; from phi_magic.errors import PhiError\ntry: cached()\n"
    code += "except PhiError as error: print(error)"
    environment = {**os.environ, "HF_HUB_DOWNLOAD_TIMEOUT": "soon"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert "check HF_ENDPOINT and the other HF_ variables" in done.stdout


def test_an_empty_variable_is_no_model(monkeypatch):
    monkeypatch.setenv("PHI_MAGIC_MODEL", "")
    assert Phi().model == models.DEFAULT
    monkeypatch.setenv("PHI_MAGIC_MODEL", "demo")
    assert Phi().model == "demo"
