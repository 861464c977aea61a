"""Tables on real executors: this machine's processes, loky's, and a Dask cluster."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path

import pytest

from phi_magic import Phi, PhiError
from phi_magic.backends import backend_of
from phi_magic.errors import RowsRefused, WorkerEnded
from phi_magic.generation import chunk as chunks
from phi_magic.generation import cutting
from phi_magic.generation import executor as executors
from phi_magic.interrupt import Interrupted, Stop
from phi_magic.models import fingerprint
from phi_magic.models.files import resolve
from phi_magic.question import make_question
from phi_magic.recorded import Recorded
from phi_magic.replay import replay
from tests.openai_server import OpenAIServer

TOPICS = [f"{thing} {number}" for thing in ("snow", "rain", "tea", "bees") for number in range(10)]
PROMPTS = [f"Write a haiku about {topic}" for topic in TOPICS]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(cutting, "_ROWS", 5)
    monkeypatch.setattr(cutting, "_SECONDS", 0)


@pytest.fixture
def phi():
    return Phi(model="demo", seed=3, max_tokens=12)


@pytest.fixture
def alone(phi):
    return [reply.text for reply in phi.map(PROMPTS, progress=False)]


def texts(replies):
    return [reply.text for reply in replies]


@pytest.fixture(scope="module")
def dask():
    distributed = pytest.importorskip("distributed", reason="the test extra installs distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_the_texts_are_those_of_one_process(phi, alone):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        replies = phi.map(PROMPTS, executor=pool, progress=False)
    assert texts(replies) == alone
    assert [reply.prompt for reply in replies] == PROMPTS
    assert {reply.engine["pass"] for reply in replies} == {"wide"}
    assert all(reply.engine["host"] and len(reply.model_sha256) == 64 for reply in replies)
    assert all(reply.timings.total > 0 for reply in replies)
    assert replay(Phi(), Recorded.of(replies[5], "here")).same


def test_loky(phi, alone):
    loky = pytest.importorskip("loky", reason="the test extra installs loky")
    pool = loky.get_reusable_executor(2)
    try:
        assert texts(phi.map(PROMPTS, executor=pool, progress=False)) == alone
    finally:
        pool.shutdown(kill_workers=True)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
class TestDask:
    def test_the_texts_are_those_of_one_process(self, phi, alone, dask):
        replies = phi.map(PROMPTS, executor=dask.get_executor(), progress=False)
        assert texts(replies) == alone

    def test_a_worker_that_is_killed_loses_nothing(self, phi, alone, dask):
        pids = list(dask.run(os.getpid).values())
        stream = phi.stream_all([(prompt, {}) for prompt in PROMPTS], executor=dask.get_executor())
        for _ in stream:
            if pids:
                os.kill(pids.pop(), signal.SIGKILL)
                pids = []
        assert texts(stream.replies) == alone


def test_ray(phi, alone):
    ray = pytest.importorskip("ray", reason="ray is not in the test extra: pip install ray runs this")

    page = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text(encoding="utf-8")
    adapter = page[page.index("import ray\n") : page.index("\n\nray.init(")]
    names = {}
    exec(adapter, names)
    ray.init(num_cpus=2, include_dashboard=False)
    try:
        assert texts(phi.map(PROMPTS, executor=names["RayExecutor"](), progress=False)) == alone
    finally:
        ray.shutdown()


def test_a_pool_that_breaks_is_said_and_the_rest_is_answered_here(phi, alone, caplog):
    with caplog.at_level(logging.WARNING, "phi_magic"), ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        stream = phi.stream_all([(prompt, {}) for prompt in PROMPTS], executor=pool)
        for _ in stream:
            for process in list((pool._processes or {}).values()):
                process.kill()
    assert texts(stream.replies) == alone
    assert "the rest is answered on this machine alone" in caplog.records[0].getMessage()


class Losing(Executor):
    """Loses what it is given, so many times."""

    error = RuntimeError("worker lost")

    def __init__(self, times):
        self.times = times
        self.pool = ThreadPoolExecutor(1)

    def submit(self, function, /, *arguments, **options):
        if self.times:
            self.times -= 1
            lost = Future()
            lost.set_exception(self.error)
            return lost
        return self.pool.submit(function, *arguments, **options)


def test_a_lost_chunk_is_sent_again(phi, alone):
    assert texts(phi.map(PROMPTS, executor=Losing(2), progress=False)) == alone


def test_one_that_is_lost_again_and_again_is_one_line(phi):
    with pytest.raises(PhiError, match="lost 3 times what answered the same rows: worker lost"):
        phi.map(PROMPTS[:1], executor=Losing(99), progress=False)


class Refusing(Executor):
    """Takes some chunks, and then raises an error."""

    def __init__(self, takes, error):
        self.takes, self.error = takes, error
        self.pool = ThreadPoolExecutor(1)

    def submit(self, function, /, *arguments):
        if not self.takes:
            raise self.error
        self.takes -= 1
        return self.pool.submit(function, *arguments)


def test_a_pool_that_breaks_while_it_is_given_a_chunk_loses_no_row(phi, alone):
    pool = Refusing(2, BrokenExecutor("a process died"))
    assert texts(phi.map(PROMPTS, executor=pool, progress=False)) == alone


def test_refused_rows_have_their_numbers_where_a_broken_pool_left_them(phi):
    prompts = [*PROMPTS[:8], "word " * 300]
    with pytest.raises(RowsRefused) as error:
        phi.map(prompts, n_ctx=128, executor=Refusing(1, BrokenExecutor("a process died")), progress=False)
    assert list(error.value.reasons) == [8]


def test_a_pool_that_was_shut_down_is_one_line(phi):
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(PhiError, match="the executor takes no work: RuntimeError: cannot schedule new futures"):
        phi.map(PROMPTS, executor=pool, progress=False)


def test_a_cluster_that_cancels_is_one_line(phi):
    class Cancelling(Executor):
        def submit(self, function, /, *arguments):
            cancelled = Future()
            cancelled.cancel()
            return cancelled

    with pytest.raises(PhiError, match="the executor cancelled rows: it was shut down, or its workers are gone"):
        phi.map(PROMPTS, executor=Cancelling(), progress=False)


def test_a_chunk_whose_model_s_process_ended_is_sent_again(phi, alone):
    pool = Losing(2)
    pool.error = WorkerEnded("the model's process was ended by signal 9")
    assert texts(phi.map(PROMPTS, executor=pool, progress=False)) == alone


@pytest.mark.skipif(sys.platform == "win32", reason="the time-out ends the pool's process by a signal")
def test_an_interrupt_frees_the_processes(slow_model):
    """Alone, the chunks that run would go on for minutes."""
    phi = Phi(model=str(slow_model), seed=1, max_tokens=3_000, n_threads=1)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        stream = phi.stream_all([(f"Write about {number}", {}) for number in range(20)], executor=pool)
        threading.Thread(target=lambda: (_answering(pool), stream.stop())).start()
        stream.run()
        try:
            assert pool.submit(int, "7").result(timeout=30) == 7
        except TimeoutError:
            for process in pool._processes.values():
                process.kill()
            raise
    assert {reply.finish_reason for reply in stream.replies} == {"interrupted"}


def test_a_chunk_that_begins_after_the_interrupt_ends_at_once(phi, tmp_path):
    (tmp_path / "stop").touch()
    request = make_question(phi, PROMPTS[0]).request
    order = chunks.Order({"demo": None}, backend_of, tmp_path / "stop", keep_errors=False)
    assert not [event for event in chunks.decode(chunks.answer_chunk([request] * 3, order)).events if event.index > 0]


def test_an_interrupt_does_not_wait_for_the_hash_of_the_model(tmp_path, monkeypatch):
    """A file outside of the hub's cache takes a second for each GB."""
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(resolve("demo").path.read_bytes())
    stop, released = Stop(), threading.Event()
    monkeypatch.setattr(fingerprint, "file_sha256", lambda path: (stop.set(), released.wait()))
    with pytest.raises(Interrupted):
        chunks.sha256_of(str(copy), stop)
    released.set()


def test_all_chunks_have_one_date(phi):
    """A template that writes the date gives the same prompts, whichever chunk comes last."""
    asked = []

    class Noting(Executor):
        def submit(self, function, /, requests, order):
            asked.extend(requests)
            answered = Future()
            answered.set_result(function(requests, order))
            return answered

    phi.map(PROMPTS, executor=Noting(), progress=False)
    [date] = {request.now for request in asked}
    assert datetime.fromisoformat(date)
    assert {request.model.path for request in asked} == {""}


def test_the_executor_says_how_many_workers_it_has():
    class Client:
        def nthreads(self):
            return {"tcp://a": 1, "tcp://b": 3}

    class Dask(Executor):
        _client = Client()

    class Mpi(Executor):
        num_workers = 5

    with ThreadPoolExecutor(3) as pool:
        found = [executors._number_of_workers(one) for one in (pool, Dask(), Mpi(), Executor())]
        assert found == [3, 4, 5, None]
        assert [executors._threads(one) for one in (Dask(), Mpi(), Executor())] == [0, 0, 0]
        assert executors._threads(pool) >= 1


def test_rows_that_cannot_be_asked(phi):
    prompts = [PROMPTS[0], "word " * 300, PROMPTS[1]]
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(RowsRefused, match="row 1: the prompt has"):
            phi.map(prompts, n_ctx=128, executor=pool, progress=False)
        with pytest.raises(RowsRefused, match="2 of 22 rows") as error:
            phi.map([*prompts, *PROMPTS[:18], "words " * 300], n_ctx=128, executor=pool, progress=False)
        assert list(error.value.reasons) == [1, 21]
        replies = phi.map(prompts, n_ctx=128, executor=pool, on_error="keep", progress=False)
    assert [reply.finish_reason == "error" for reply in replies] == [False, True, False]


def test_another_file_of_the_same_name_is_refused(phi, monkeypatch):
    monkeypatch.setattr(executors, "sha256_of", lambda name, stop: "b" * 64)
    with ThreadPoolExecutor(1) as pool, pytest.raises(PhiError, match="its file of demo is another one"):
        phi.map(PROMPTS[:1], executor=pool, progress=False)


def test_machines_of_two_kinds_are_said(phi, monkeypatch, caplog):
    kinds = iter(["a" * 12, "b" * 12, *["a" * 12] * 100])
    monkeypatch.setattr(chunks, "computer", lambda: {"computing": next(kinds), "planning": ""})
    with ThreadPoolExecutor(1) as pool, caplog.at_level(logging.WARNING, "phi_magic"):
        phi.map(PROMPTS, executor=pool, progress=False)
    [record] = caplog.records
    assert "differ in processor or software" in record.getMessage()


def test_a_stop_takes_back_what_waits(phi):
    begun = threading.Event()

    class Slow(Executor):
        def __init__(self):
            self.futures = []

        def submit(self, function, /, *arguments, **options):
            self.futures.append(Future())
            begun.set()
            return self.futures[-1]

    pool = Slow()
    stream = phi.stream_all([(prompt, {}) for prompt in PROMPTS], executor=pool)
    threading.Thread(target=lambda: (begun.wait(), time.sleep(0.1), stream.stop())).start()
    stream.run()
    assert pool.futures
    assert all(future.cancelled() for future in pool.futures)
    assert {reply.finish_reason for reply in stream.replies} == {"interrupted"}


def _answering(pool):
    """Return once a model's process runs below a process of the pool, and has begun to compute."""
    while not any(_busy_children(pid) for pid in [*(pool._processes or {})]):
        time.sleep(0.05)


def _busy_children(parent):
    """Whether a process has a child that has computed for a second: it has loaded the model, and decodes."""
    said = subprocess.run(["ps", "-o", "cputimes=", "--ppid", str(parent)], capture_output=True, text=True, check=False)
    return [seconds for seconds in said.stdout.split() if int(seconds) >= 2]


def test_finished_rows_stay_after_a_stop(phi, alone):
    with ThreadPoolExecutor(1) as pool:
        stream = phi.stream_all([(prompt, {}) for prompt in PROMPTS], executor=pool)
        next(stream)
        stream.stop()
        stream.run()
    done = [number for number, reply in enumerate(stream.replies) if reply.finish_reason != "interrupted"]
    assert done
    assert [stream.replies[number].text for number in done] == [alone[number] for number in done]


def test_a_cache_stands_before_it(phi, alone, tmp_path):
    path = str(tmp_path / "answers.sqlite")
    phi.map(PROMPTS[:20], cache=path, progress=False)
    with ThreadPoolExecutor(1) as pool:
        replies = phi.map(PROMPTS, cache=path, executor=pool, progress=False)
    assert texts(replies) == alone
    assert sum(reply.from_cache for reply in replies) == 20
    assert all(reply.from_cache for reply in phi.map(PROMPTS, cache=path, progress=False))


def test_a_server_may_be_asked_from_there():
    with OpenAIServer() as server, ThreadPoolExecutor(1) as pool:
        replies = Phi(model=server.url, seed=1).map(["Hi", "Hello"], executor=pool, progress=False)
    assert texts(replies) == ["Hello there"] * 2


def test_what_is_no_executor_is_refused(phi):
    with pytest.raises(PhiError, match=r"executor takes a concurrent\.futures\.Executor, not a int"):
        phi.map(PROMPTS, executor=5)


def test_a_dask_client_is_told_from_its_executor(phi):
    class Client:
        def submit(self, *_):
            raise AssertionError

        def get_executor(self):
            raise AssertionError

    with pytest.raises(PhiError, match=r"not a Client: give its get_executor\(\)"):
        phi.map(PROMPTS, executor=Client())


def test_a_client_that_was_closed_is_one_line(phi):
    class Client:
        def nthreads(self):
            raise AttributeError("'NoneType' object has no attribute 'ncores'")

    class Closed(Executor):
        _client = Client()

        def submit(self, *_):
            raise RuntimeError("the client is closed")

    with pytest.raises(PhiError, match="the executor takes no work: RuntimeError: the client is closed"):
        phi.map(PROMPTS, executor=Closed(), progress=False)


def test_no_process_is_left(phi):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        phi.map(PROMPTS[:4], executor=pool, progress=False)
        parents = list(pool._processes)
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(parents[0])], capture_output=True, text=True, check=False
        )
        workers = [int(pid) for pid in found.stdout.split()]
    assert workers
    until = time.monotonic() + 10
    while time.monotonic() < until and any(Path(f"/proc/{pid}").exists() for pid in workers):
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
