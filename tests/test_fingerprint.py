"""Which file a model was: in every reply, and nobody waits for it but the end of a first answer."""

import hashlib
import shutil
import threading
from importlib.resources import files
from pathlib import Path

from phi_magic import Phi
from phi_magic.interrupt import Stop
from phi_magic.models import fingerprint as identity
from phi_magic.models.files import ModelFile
from phi_magic.models.fingerprint import Identity

DEMO = Path(str(files("phi_magic") / "demo" / "phi-demo.gguf"))


def test_a_model_by_its_path_is_told_by_its_hash():
    shutil.copy(DEMO, "mine.gguf")
    reply = Phi(model="mine.gguf")("Write a haiku", max_tokens=2)
    assert reply.to_dict()["model_sha256"] == hashlib.sha256(DEMO.read_bytes()).hexdigest()


def test_many_at_once_are_told_too():
    shutil.copy(DEMO, "mine.gguf")
    replies = Phi(model="mine.gguf", max_tokens=2).map(["Ice", "Snow"], progress=False)
    assert {reply.model_sha256 for reply in replies} == {hashlib.sha256(DEMO.read_bytes()).hexdigest()}


def test_an_interrupt_does_not_wait_for_it(monkeypatch):
    never = threading.Event()
    monkeypatch.setattr(identity, "file_sha256", lambda path: never.wait() and "")
    stop = Stop()
    stop.set()
    slow = Identity(ModelFile("mine", DEMO))
    slow.wait(stop)
    assert slow.sha256 is None
    never.set()


def test_a_file_that_goes_away_has_none():
    gone = Identity(ModelFile("gone", Path("gone.gguf")))
    gone.wait(Stop())
    assert gone.sha256 is None


def test_the_hub_s_cache_bears_it_as_a_name():
    assert Identity(ModelFile("cached", Path("not-read.gguf"), sha256="f" * 64)).sha256 == "f" * 64
