"""What is kept of an answer, a sweep or a table that something cuts off."""

import gc
import os
import signal
import sys
import tracemalloc

import pandas as pd
import pytest
from IPython.core.error import UsageError

from phi_magic import Phi
from phi_magic.__main__ import main
from phi_magic.errors import PhiError, WorkerEnded
from phi_magic.generation.backend import Finished, Started, Step
from phi_magic.generation.request import GenerationRequest
from phi_magic.generation.stream import Question
from phi_magic.generation.worker import shared
from phi_magic.tables.labelling import Labelling
from tests.fake_backend import FakeBackend

ENDED = WorkerEnded("the model's process was ended by signal 9")
LOST = PhiError("the connection to the server was lost")
BROKEN = RuntimeError("a defect")


def pieces(error):
    """The first words of an answer, and what comes then; a user's time-out comes by a signal."""
    yield "Puck "
    yield "glides"
    if error is TimeoutError:
        signal.raise_signal(signal.SIGALRM)
    raise error


@pytest.fixture(params=[ENDED, LOST, BROKEN, KeyboardInterrupt(), TimeoutError], ids=lambda error: repr(error)[:20])
def error(request):
    """What cuts the answers off, and what the one who asked sees of it."""
    if request.param is not TimeoutError:
        yield request.param
        return
    if sys.platform == "win32":
        pytest.skip("needs SIGALRM")

    def out_of_time(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, out_of_time)
    yield TimeoutError
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def seen(error):
    """The exception that a cell ends with."""
    return UsageError if isinstance(error, PhiError) else error if isinstance(error, type) else type(error)


@pytest.fixture
def backend(monkeypatch, error):
    """A backend without tokens, of which the second answer is cut off."""
    backend = FakeBackend("Ice is cold", pieces(error))
    monkeypatch.setattr(Phi, "backend", backend)
    return backend


@pytest.fixture
def ip(shell):
    shell.run_line_magic("load_ext", "phi_magic")
    shell.run_line_magic("config", "Phi.model = 'demo'")
    return shell


class TestCell:
    def test_an_answer(self, ip, backend, seen, capsys):
        backend.answers.popleft()
        with pytest.raises(seen):
            ip.run_cell_magic("phi", "-o kept", "Write about ice")
        kept = ip.user_ns["kept"]
        assert (kept.text, kept.finish_reason) == ("Puck glides", "interrupted")
        assert kept.timings.total > 0
        said = capsys.readouterr()
        assert said.out == "Puck glides\n"
        assert "interrupted" in said.err

    def test_a_sweep(self, ip, backend, seen):
        with pytest.raises(seen):
            ip.run_cell_magic("phi_sweep", "seed=1,2,3 -o kept", "Write about ice")
        assert list(ip.user_ns["kept"].text) == ["Ice is cold", "Puck glides"]
        [output] = ip.display_pub.outputs
        assert "interrupted" in output["data"]["text/plain"]
        assert [reply["text"] for reply in output["metadata"]["phi_magic"]["replies"]] == ["Ice is cold", "Puck glides"]

    def test_a_table(self, ip, backend, seen):
        ip.user_ns["df"] = pd.DataFrame({"topic": ["ice", "pucks", "rain"]})
        with pytest.raises(seen):
            ip.run_cell_magic("phi_map", "df -o kept", "Write about {{ topic }}")
        assert ip.user_ns["kept"].answer.fillna("").tolist() == ["Ice is cold", "", ""]
        [output] = ip.display_pub.outputs
        assert output["data"]["text/plain"].startswith("interrupted after 1 of 3 rows")
        assert [reply["text"] for reply in output["metadata"]["phi_magic"]["replies"]] == ["Ice is cold"]


def test_a_question_that_cannot_be_asked_leaves_the_variable(ip, monkeypatch):
    monkeypatch.setattr(Phi, "backend", FakeBackend(PhiError("the prompt is too long")))
    ip.user_ns["kept"] = "of an earlier cell"
    with pytest.raises(UsageError, match="too long"):
        ip.run_cell_magic("phi", "-o kept", "Write about ice")
    assert ip.user_ns["kept"] == "of an earlier cell"
    assert not ip.display_pub.outputs


class TestTerminal:
    def run(self, error, *arguments):
        """The exit status, or the exception that goes through."""
        if isinstance(error, PhiError | KeyboardInterrupt):
            return main(arguments)
        with pytest.raises(error if isinstance(error, type) else type(error)):
            main(arguments)
        return None

    def test_an_answer(self, backend, error, capsys):
        backend.answers.popleft()
        status = self.run(error, "Write about ice", "-m", "demo")
        assert capsys.readouterr().out == "Puck glides\n"
        assert status == {ENDED: 1, LOST: 2, BROKEN: None, TimeoutError: None}.get(error, 130)

    def test_a_table_is_written(self, backend, error, tmp_path):
        (tmp_path / "rows.csv").write_text("topic\nice\npucks\nrain\n")
        (tmp_path / "prompt.txt").write_text("Write about {{ topic }}")
        out = tmp_path / "out.csv"
        rows, prompt = str(tmp_path / "rows.csv"), str(tmp_path / "prompt.txt")
        self.run(error, "map", rows, "--template", prompt, "--out", str(out), "-m", "demo", "-q")
        assert pd.read_csv(out).fillna("").to_numpy().tolist() == [["ice", "Ice is cold"], ["pucks", ""], ["rain", ""]]


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_worker_costs_the_unfinished_rows_alone(ip, monkeypatch):
    following = Labelling.__iter__

    def killing(labelling):
        for index in following(labelling):
            if labelling.progress.done == 20 and shared.pid:
                os.kill(shared.pid, signal.SIGKILL)
            yield index

    monkeypatch.setattr(Labelling, "__iter__", killing)
    ip.user_ns["df"] = pd.DataFrame({"topic": [f"day {number}" for number in range(400)]})
    with pytest.raises(UsageError, match="was ended by signal 9"):
        ip.run_cell_magic("phi_map", "df --seed 1 -n 8 -o kept", "Write about {{ topic }}")
    kept = ip.user_ns["kept"].answer.dropna()
    assert 20 <= len(kept) < 400
    monkeypatch.undo()
    ip.run_cell_magic("phi_map", "df --seed 1 -n 8 -o whole", "Write about {{ topic }}")
    whole = ip.user_ns["whole"].answer
    assert whole.notna().all()
    assert (whole[kept.index] == kept).all()


class Short:
    """Answers each request with a word, and keeps no request."""

    def generate_many(self, requests, stop, **options):
        count = len(requests)
        del requests
        for index in range(count):
            yield Started(index, engine={"pass": "wide", "n_threads": 2})
            yield Step(index, text="ice")
            yield Finished(index, "stop")


@pytest.fixture
def mapped():
    """Ask so many rows."""
    phi = Phi(model="demo")
    phi.backend = Short()
    return lambda count: phi.stream_all([(f"Row {number}", {"stop": ["END"]}) for number in range(count)])


def test_what_the_rows_of_a_map_share_is_held_once(mapped):
    stream = mapped(3)
    stream.run()
    first, *others = stream.replies
    assert all(reply.params is first.params and reply.engine is first.engine for reply in others)
    assert [reply.prompt for reply in stream.replies] == ["Row 0", "Row 1", "Row 2"]


def test_a_row_that_has_ended_keeps_nothing_but_its_reply(mapped):
    def held():
        return sum(isinstance(one, Question | GenerationRequest) for one in gc.get_objects())

    stream = mapped(50)
    before = held()
    left = [held() for at, _ in enumerate(stream) if at % 3 == 2]  # after the last event of each
    assert left == [before - 2 * ended for ended in range(1, 51)]


def test_a_row_takes_less_than_a_kilobyte(mapped):
    mapped(10).run()
    tracemalloc.start()
    try:
        stream = mapped(1000)
        stream.run()
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(stream.replies) == 1000
    assert taken < 1000 * 1000
