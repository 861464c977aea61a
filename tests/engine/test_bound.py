"""Work that a file or a text could make endless ends in one line, and the next question is answered."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import closing
from threading import Event

import pytest

from phi_magic import Phi, PhiError
from phi_magic.engine import bound
from phi_magic.generation import launch
from phi_magic.generation.worker import Worker
from tests import architectures
from tests.hostile_texts import ENDLESS_TEMPLATES

#: The process that the tests start gives work this time.
SECONDS = 0.5


@pytest.fixture
def phi(monkeypatch):
    bootstrap = launch._bootstrap
    monkeypatch.setattr(
        launch,
        "_bootstrap",
        lambda *pipes: f"import phi_magic.engine.bound as bound; bound.SECONDS = {SECONDS}\n{bootstrap(*pipes)}",
    )
    phi = Phi(model="demo", seed=1)
    with closing(Worker()) as phi.backend:
        yield phi


def test_when_the_time_is_up_it_is_given_up(monkeypatch):
    monkeypatch.setattr(bound, "SECONDS", 0.01)
    said, given_up = [], Event()
    with bound.bounded("a long text", lambda reason: (said.append(reason), given_up.set())):
        assert given_up.wait(30)
    assert said == ["a long text did not come to an end in 0.01 s"]


def test_where_the_system_has_no_thread_to_spare_the_work_is_done_under_its_alarm(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Timer.start", refuse)
    with bound.bounded("a long text", print):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > bound.SECONDS


def test_work_that_ends_while_it_is_given_up_does_not_go_on(monkeypatch):
    monkeypatch.setattr(bound, "SECONDS", 0.01)
    begun, done = Event(), []

    def give_up(reason):
        begun.set()
        time.sleep(0.1)
        done.append("given up")

    with bound.bounded("a long text", give_up):
        assert begun.wait(30)
    done.append("gone on")
    assert done == ["given up", "gone on"]


@pytest.mark.skipif("sys.platform != 'linux'", reason="other systems do not say how much address space is in use")
def test_more_memory_than_work_may_take_is_an_error_and_later_work_may_take_it():
    script = (
        "import resource\nfrom phi_magic import PhiError\nfrom phi_magic.engine import bound\n"
        "bound.MEMORY = 50_000_000\nbefore = resource.getrlimit(resource.RLIMIT_AS)\n"
        "try:\n    with bound.bounded('the text', print):\n        bytearray(100_000_000)\n"
        "except PhiError as error:\n    print(error)\n"
        "print(len(bytearray(100_000_000)), resource.getrlimit(resource.RLIMIT_AS) == before)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["the text takes more memory than it may", "100000000 True"]


@pytest.mark.parametrize(
    "template",
    [
        pytest.param(one, id=one[:30], marks=[] if at % 4 == 0 else pytest.mark.torture)
        for at, one in enumerate(ENDLESS_TEMPLATES)
    ],
)
def test_a_chat_template_that_never_ends_is_one_line_and_the_next_question_is_answered(phi, tmp_path, template):
    path = tmp_path / "endless.gguf"
    architectures.write(path, architectures.ARCHITECTURES["phi3"], template=template)
    with pytest.raises(PhiError) as caught:
        phi("ice", model=str(path))
    assert len(str(caught.value).splitlines()) == 1
    assert phi("Write a haiku", max_tokens=3).text


def test_where_no_other_thread_gets_to_run_the_system_ends_the_process(phi, tmp_path):
    path = tmp_path / "endless.gguf"
    template = "{{ 9 ** (9 ** 9) }}"  # one computation in C
    architectures.write(path, architectures.ARCHITECTURES["phi3"], template=template)
    with pytest.raises(PhiError, match=r"SIGALRM.*time was up"):
        phi("ice", model=str(path))
