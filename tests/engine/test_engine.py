"""The process's one engine: whose turn it is, what fits, and what is let go of."""

import os
import subprocess
import sys
import time

import pytest

from phi_magic import Phi, PhiError
from phi_magic.engine import engine
from phi_magic.engine import model as models
from phi_magic.engine import saved_states as shelf
from phi_magic.engine.engine import shared
from phi_magic.engine.lease import Lease
from phi_magic.engine.model import Model
from phi_magic.interrupt import Interrupted
from phi_magic.machine import Budget
from phi_magic.models.files import resolve

linux = pytest.mark.skipif(sys.platform != "linux", reason="leases are Linux's")


@pytest.fixture
def phi():
    phi = Phi(model="demo", seed=1)
    yield phi
    phi.unload()


@pytest.fixture
def copy(tmp_path):
    """A file of the shipped model that anybody may write."""
    path = tmp_path / "model.gguf"
    path.write_bytes(resolve("demo").path.read_bytes())
    return path


def freed():
    deadline = time.monotonic() + 30
    while shared.model and time.monotonic() < deadline:
        time.sleep(0.001)
    return shared.model is None


@pytest.mark.parametrize("seconds", [0, 0.001, 0.01])
def test_an_idle_model_is_freed_even_if_its_time_is_up_while_it_is_used(seconds):
    phi = Phi(model="demo", keep_alive=seconds)
    for _ in range(10):
        phi.chat("c")("ice " * 40, max_tokens=1)  # after which history is read
        assert freed()


def test_what_was_to_be_read_ahead_is_dropped_with_its_model(phi):
    phi("x", max_tokens=1)
    _, context = shared.loaded
    phi.unload()
    phi("x", max_tokens=1)
    held = list(shared.context.tokens)
    shared.read_ahead(context, [1] * 50).join()
    assert shared.context.tokens == held


def test_the_first_question_counts_in_full(phi, monkeypatch):
    phi.load()
    need = engine._need(shared.header, shared.context.plan, 1792)
    monkeypatch.setattr(engine, "available", lambda: Budget(need.total - 1, "free memory"))
    with pytest.raises(PhiError, match="what would fit"):
        phi("x", max_tokens=1700)
    monkeypatch.setattr(engine, "available", lambda: Budget(need.total, "free memory"))
    phi("x", max_tokens=1700, stop=["a", "e", "i", "o", "u"])


def test_what_was_put_aside_gives_way_to_a_question(phi, monkeypatch):
    for word in ("ice", "sea", "snow"):
        phi(f"{word} " * 100, max_tokens=1)
    aside = shared.context._shelf
    assert aside._memories
    now, need = (engine._need(shared.header, shared.context.plan, size) for size in (shared.context.size, 1792))
    room = need.total - (now.total - now.weights)
    monkeypatch.setattr(
        engine, "available", lambda: Budget(room - sum(len(one.data) for one in aside._memories), "free memory")
    )
    assert phi("x", max_tokens=1700, stop=["a", "e", "i", "o", "u"]).tokens
    assert len(aside._memories) <= 1  # the last question's own


def test_where_memory_is_short_nothing_is_copied_and_answers_are_the_same(phi, monkeypatch):
    questions = [f"{word} " * 100 for word in ("ice", "sea", "ice")]
    usual = [phi(question, max_tokens=8).text for question in questions]
    phi.unload()
    monkeypatch.setattr(shelf, "available", lambda: Budget(0, "free memory"))
    assert [phi(question, max_tokens=8).text for question in questions] == usual
    assert not shared.context._shelf._memories


def test_a_model_that_cannot_go_back_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(models.C, "llama_model_is_recurrent", lambda pointer: True)
    with pytest.raises(PhiError, match="cannot go back to an earlier turn; use"):
        Model(resolve("demo").path)


@linux
def test_a_file_that_is_written_while_it_is_loaded_is_refused_in_one_line(copy, monkeypatch):
    program = "import os, sys; os.close(os.open(sys.argv[1], os.O_RDWR))"
    writers = []

    def written(path, *, stop, **options):
        writers.append(subprocess.Popen([sys.executable, "-c", program, str(path)]))
        while not stop.requested:
            time.sleep(0.001)
        raise Interrupted

    monkeypatch.setattr(engine, "Model", written)
    with pytest.raises(PhiError, match=r"model.gguf is being written by another program: ask again later"):
        Phi(model=str(copy))("x", max_tokens=1)
    assert writers[0].wait(30) == 0


@linux
def test_a_lease_ends_with_its_holder_though_a_forked_child_has_the_file_too(copy):
    lease = Lease(copy, lambda: None)
    childs = os.dup(lease._file)
    with pytest.raises(BlockingIOError):
        os.open(copy, os.O_RDWR | os.O_NONBLOCK)
    lease.close()
    os.close(os.open(copy, os.O_RDWR | os.O_NONBLOCK))
    os.close(childs)
