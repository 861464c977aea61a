"""Models that Ollama has pulled are used in place, by the names that Ollama gives them."""

import hashlib
import json
import os
import shutil
from importlib.resources import files
from pathlib import Path

import pytest

from phi_magic import Phi, PhiError
from phi_magic.models import files as models
from phi_magic.models import ollama

DEMO = Path(str(files("phi_magic") / "demo" / "phi-demo.gguf"))
WEIGHTS = "application/vnd.ollama.image.model"
LIBRARY = "registry.ollama.ai/library"


@pytest.fixture
def folder():
    return Path(os.environ["OLLAMA_MODELS"])


@pytest.fixture
def pulled(folder):
    """Puts a model where `ollama pull` does."""

    def put(entry, content=b"GGUF", *, kind=WEIGHTS, blob=True):
        digest = hashlib.sha256(content).hexdigest()
        layers = [
            {"mediaType": "application/vnd.ollama.image.template", "digest": f"sha256:{'1' * 64}", "size": 148},
            {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)},
        ]
        manifest = folder / "manifests" / entry
        manifest.parent.mkdir(parents=True, exist_ok=True)
        manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
        path = folder / "blobs" / f"sha256-{digest}"
        path.parent.mkdir(exist_ok=True)
        if blob:
            path.write_bytes(content)
        return path

    return put


def refusal(name):
    with pytest.raises(PhiError) as caught:
        models.resolve(name)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("ollama:phi3", f"{LIBRARY}/phi3/latest"),
        ("ollama:phi3:latest", f"{LIBRARY}/phi3/latest"),
        ("ollama:phi3:mini", f"{LIBRARY}/phi3/mini"),
        ("ollama:library/phi3:mini", f"{LIBRARY}/phi3/mini"),
        ("ollama:ada/haiku:v1.2", "registry.ollama.ai/ada/haiku/v1.2"),
        ("ollama:hf.co/ada/Haiku-GGUF:Q4_K_M", "hf.co/ada/Haiku-GGUF/Q4_K_M"),
        ("ollama:localhost:5000/ada/haiku", "localhost:5000/ada/haiku/latest"),
    ],
)
def test_a_name_of_ollama_s_is_the_file_that_it_pulled(pulled, name, entry):
    path = pulled(entry, b"GGUF of it")
    found = models.resolve(name)
    assert (found.path, found.sha256) == (path, hashlib.sha256(b"GGUF of it").hexdigest())


def test_it_answers_in_place(pulled, folder):
    pulled(f"{LIBRARY}/haiku/latest", DEMO.read_bytes())
    before = sorted(folder.rglob("*"))
    reply = Phi(model="ollama:haiku", max_tokens=2)("Write a haiku")
    assert reply.text
    assert reply.model == "ollama:haiku"
    assert reply.model_sha256 == hashlib.sha256(DEMO.read_bytes()).hexdigest()
    assert sorted(folder.rglob("*")) == before


def test_they_are_listed_by_their_shortest_names(pulled):
    for entry in ("phi3/latest", "phi3/mini"):
        pulled(f"{LIBRARY}/{entry}")
    pulled("registry.ollama.ai/ada/haiku/latest")
    pulled("hf.co/ada/haiku/Q8_0")
    pulled(f"{LIBRARY}/cloud/latest", kind="application/vnd.ollama.image.tensor")
    pulled(f"{LIBRARY}/gone/latest", b"gone", blob=False)
    names = ["ollama:ada/haiku", "ollama:hf.co/ada/haiku:Q8_0", "ollama:phi3", "ollama:phi3:mini"]
    assert [model.name for model in ollama.models()] == names
    assert [models.resolve(model.name) for model in ollama.models()] == ollama.models()


def test_without_ollama_there_are_none():
    assert ollama.models() == []


def test_the_service_s_folder_is_looked_into_too(pulled, folder, monkeypatch, tmp_path):
    path = pulled(f"{LIBRARY}/phi3/latest")
    monkeypatch.delenv("OLLAMA_MODELS")
    home = Path(os.environ["HOME"])
    assert home / ".ollama" / "models" in ollama.folders()
    shutil.move(folder, home / ".ollama" / "models")
    assert models.resolve("ollama:phi3").path == home / ".ollama" / "models" / "blobs" / path.name


def test_what_was_not_pulled_says_how_and_what_is_there(pulled, folder):
    pulled(f"{LIBRARY}/phi3/mini")
    said = refusal("ollama:phi4")
    assert f"Ollama has no model 'phi4' in {folder}" in said
    assert "`ollama pull phi4` fetches it" in said
    assert refusal("ollama:phi3").endswith("did you mean ollama:phi3:mini?")


@pytest.mark.parametrize(
    "name",
    [
        "ollama:",
        "ollama:../../x",
        "ollama:a/b/c/d",
        "ollama:/etc/passwd",
        "ollama:a b",
        "ollama:a:",
        "ollama:\0",
        "ollama:..",
    ],
)
def test_what_cannot_be_a_name_is_one_line(name):
    assert "is no name of a model of Ollama's" in refusal(name)


@pytest.mark.parametrize("manifest", ["", "{", "[]", "null", '{"layers": 5}', "[" * 100_000, "\ufffd"])
def test_a_damaged_manifest_is_named(pulled, folder, manifest):
    pulled(f"{LIBRARY}/phi3/latest")
    path = folder / "manifests" / LIBRARY / "phi3" / "latest"
    path.write_text(manifest)
    said = refusal("ollama:phi3")
    assert str(path) in said
    assert "`ollama pull phi3` repairs it" in said
    assert ollama.models() == []


def test_a_digest_that_is_a_path_is_refused(pulled, folder):
    pulled(f"{LIBRARY}/phi3/latest")
    layers = [{"mediaType": WEIGHTS, "digest": "sha256:../../../etc/passwd"}]
    (folder / "manifests" / LIBRARY / "phi3" / "latest").write_text(json.dumps({"layers": layers}))
    assert "it names its weights in another way" in refusal("ollama:phi3")


def test_a_model_without_weights_or_with_missing_ones_is_named(pulled):
    pulled(f"{LIBRARY}/cloud/latest", kind="application/vnd.ollama.image.license")
    assert "has no GGUF on this machine" in refusal("ollama:cloud")
    pulled(f"{LIBRARY}/phi3/latest", b"gone", blob=False)
    assert "`ollama pull phi3` fetches it" in refusal("ollama:phi3")


def test_it_is_ollama_s_to_delete(pulled):
    path = pulled(f"{LIBRARY}/phi3/mini")
    with pytest.raises(PhiError, match="`ollama rm phi3:mini` deletes it"):
        models.remove("ollama:phi3:mini")
    assert path.exists()
