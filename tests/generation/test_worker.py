"""The worker process: the same answers as in one's own process, and a kernel that outlives whatever ends it."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace

import msgspec
import pytest

from phi_magic import Phi, PhiError
from phi_magic.engine.engine import Engine
from phi_magic.errors import WorkerEnded
from phi_magic.generation import launch, process
from phi_magic.generation.request import GenerationRequest
from phi_magic.generation.wire import Cancel, Generate, encode
from phi_magic.generation.worker import Worker, shared
from phi_magic.interrupt import Stop
from tests.architectures import ARCHITECTURES, write
from tests.conftest import PROJECT
from tests.processes import gone

HAIKU = "Write a haiku about ice hockey"
SCHEMA = {"type": "object", "properties": {"cold": {"type": "boolean"}}, "required": ["cold"]}


@pytest.fixture
def worker():
    with closing(Worker()) as worker:
        yield worker


@pytest.fixture
def phi(worker):
    phi = Phi(model="demo", seed=1)
    phi.backend = worker
    return phi


def run(script, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )


def record(reply):
    """What an answer is, without what it took."""
    return reply.text, reply.tokens, reply.finish_reason, reply.usage, reply.engine, reply.data


class TestSameAsInProcess:
    @pytest.fixture
    def engine(self):
        engine = Engine()
        yield engine
        engine.unload()

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"temperature": 0, "top_logprobs": 5},
            {"temperature": 1.5, "top_p": 0.9, "top_k": 40, "min_p": 0.02, "stop": ["\n"]},
            {"schema": SCHEMA, "max_tokens": 60},
            {"raw": True, "max_tokens": 30},
            {"begin": [400, 500], "max_tokens": 10},
            {"profile": "memory"},
        ],
        ids=str,
    )
    def test_an_answer_has_the_same_bits(self, phi, engine, options):
        through = phi(HAIKU, **options)
        phi.backend = engine
        assert record(phi(HAIKU, **options)) == record(through)

    def test_so_has_every_answer_of_a_map(self, phi, engine):
        prompts = [f"Write a haiku about {word}" for word in "ice tea snow rain sun moon sea trees night".split()]
        through = phi.map(prompts, progress=False, top_logprobs=2)
        phi.backend = engine
        here = phi.map(prompts, progress=False, top_logprobs=2)
        assert [record(reply) for reply in here] == [record(reply) for reply in through]

    def test_so_have_logits_and_names(self, phi, engine):
        through = phi.look(HAIKU, (400, 500))
        phi.backend = engine
        here = phi.look(HAIKU, (400, 500))
        assert here.logits.tobytes() == through.logits.tobytes()
        assert list(here.names) == list(through.names)
        assert here.ends == through.ends

    def test_so_has_what_a_model_is_described_as(self, phi, engine):
        through = phi.describe()
        phi.backend = engine
        assert phi.describe() == through

    def test_so_have_the_tokens_of_a_text(self, phi, engine):
        text = "Ice hockey, h\xf6ckey \U0001f3d2 <|end|>"
        through = phi.tokenize(text)
        phi.backend = engine
        assert phi.tokenize(text) == through
        assert b"".join(token.data for token in through).decode() == text


class TestErrors:
    def test_a_prompt_that_is_too_long_is_refused_with_both_figures(self, phi):
        with pytest.raises(PhiError, match="tokens, the context 64") as caught:
            phi("ice " * 100, n_ctx=64)
        assert (caught.value.context, caught.value.tokens > 64) == (64, True)

    def test_a_mistake_costs_neither_the_process_nor_the_model(self, phi, worker):
        phi("x", max_tokens=1)
        before = worker.pid
        with pytest.raises(PhiError, match="vocabulary"):
            phi("x", begin=[10**6])
        assert worker.pid == before
        assert worker.loaded

    def test_a_programming_error_brings_its_traceback(self, phi, monkeypatch):
        phi.load()
        with pytest.raises(RuntimeError, match="Traceback"):
            phi("x", n_ctx=64, plan=_nonsense())


def _nonsense():
    from phi_magic.generation.plan import Plan

    return Plan(n_threads=1, key_type="q99")


class TestTurns:
    def test_streams_that_are_read_alternately_have_the_answers_that_each_has_alone(self, phi):
        alone = phi(HAIKU).text
        streams = [phi.stream(HAIKU) for _ in range(3)]
        first = [next(stream) for stream in streams]
        assert [begun + "".join(stream) for begun, stream in zip(first, streams, strict=True)] == [alone] * 3

    def test_a_question_says_that_it_waits_for_another_answer(self, phi, slow_model):
        slow = phi.stream("ice", model=str(slow_model), max_tokens=3000)
        next(slow)
        said = []
        waiting = phi.stream(HAIKU, on_status=lambda text: (said.append(text), slow.close()))
        waiting.run()
        assert said == ["waiting for another answer to end"]
        assert waiting.reply.text

    def test_an_answer_that_waits_is_stopped_at_once(self, phi, slow_model):
        slow = phi.stream("ice", model=str(slow_model), max_tokens=3000)
        next(slow)
        waiting = phi.stream(HAIKU)
        timer = threading.Timer(0.2, waiting.stop)
        timer.start()
        assert list(waiting) == []
        assert waiting.reply.finish_reason == "interrupted"
        assert next(slow)
        slow.close()

    def test_an_answer_that_nobody_reads_any_more_is_given_up(self, phi, slow_model, monkeypatch):
        sent = []
        monkeypatch.setattr(process, "encode", lambda message: (sent.append(message), encode(message))[1])
        next(phi.stream("ice", model=str(slow_model), max_tokens=3000))  # let go of at once
        assert phi("ice", model=str(slow_model), max_tokens=2).tokens
        assert [type(message) for message in sent] == [Generate, Cancel, Generate]


class TestEnd:
    @pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
    def test_a_signal_ends_an_answer_in_one_line_and_the_next_one_is_right(self, phi, worker, slow_model, number):
        whole = phi(HAIKU).text
        stream = phi.stream("ice", model=str(slow_model), max_tokens=3000)
        first = next(stream)
        os.kill(worker.pid, number)
        with pytest.raises(WorkerEnded, match=rf"signal {number:d} \({number.name}\).*ask again") as caught:
            stream.run()
        assert len(str(caught.value).splitlines()) == 1
        assert stream.reply.text.startswith(first)
        assert stream.reply.finish_reason == "interrupted"
        assert phi(HAIKU).text == whole

    def test_an_end_while_nothing_is_asked_is_not_noticed(self, phi, worker):
        whole = phi(HAIKU).text
        first = worker.pid
        os.kill(first, signal.SIGKILL)
        while worker.pid:
            time.sleep(0.01)
        assert phi(HAIKU).text == whole
        assert worker.pid not in (None, first)

    def test_those_that_wait_are_answered_by_a_new_one(self, phi, worker, slow_model):
        whole = phi(HAIKU).text
        first = phi.stream("ice", model=str(slow_model), max_tokens=3000)
        next(first)
        texts = []
        team = [threading.Thread(target=lambda: texts.append(phi(HAIKU).text)) for _ in range(3)]
        for thread in team:
            thread.start()
        while len(worker._process._calls) < 4:
            time.sleep(0.01)
        os.kill(worker.pid, signal.SIGKILL)
        for thread in team:
            thread.join(30)
        assert texts == [whole] * 3
        with pytest.raises(WorkerEnded, match="SIGKILL"):
            first.run()

    def test_what_it_wrote_last_is_in_the_message(self, phi, worker, monkeypatch):
        monkeypatch.setattr(
            launch, "_bootstrap", lambda calls, answers: "import os; os.write(2, b'GGML_ASSERT\\n'); os.abort()"
        )
        with pytest.raises(WorkerEnded, match=r"SIGABRT\) \(GGML_ASSERT\)"):
            phi("x")

    def test_a_failed_assertion_of_llama_cpp_stands_in_the_error(self, phi, tmp_path):
        whole = phi(HAIKU).text
        path = tmp_path / "rotated.gguf"
        qwen2 = ARCHITECTURES["qwen2"]
        write(path, replace(qwen2, said={"rope.dimension_count": 16}))
        with pytest.raises(WorkerEnded, match=r"SIGABRT.*GGML_ASSERT\(n_embd_head == n_rot\) failed"):
            phi("ice", model=str(path))
        assert phi(HAIKU).text == whole

    @pytest.mark.skipif("sys.platform != 'linux'", reason="other systems have no such file")
    def test_it_is_the_first_to_go_where_memory_is_short(self, phi, worker):
        phi("x", max_tokens=1)
        with open(f"/proc/{worker.pid}/oom_score_adj", encoding="ascii") as file:  # noqa: PTH123
            assert file.read().strip() == "1000"

    def test_a_process_that_does_not_react_to_a_stop_is_ended(self, phi, worker, slow_model):
        stream = phi.stream("ice", model=str(slow_model), max_tokens=3000)
        first = next(stream)
        hung = worker.pid
        os.kill(hung, signal.SIGSTOP)
        stream.stop()
        stream.run()
        assert stream.reply.finish_reason == "interrupted"
        assert stream.reply.text.startswith(first)
        assert gone(hung, 5)
        assert phi(HAIKU).tokens

    def test_nor_does_one_that_reads_no_calls_hold_up_a_stop(self, phi, worker):
        phi.load()
        hung = worker.pid
        os.kill(hung, signal.SIGSTOP)
        stream = phi.stream("ice " * 100_000)  # more than the pipe holds
        timer = threading.Timer(0.2, stream.stop)
        timer.start()
        stream.run()
        assert stream.reply.finish_reason == "interrupted"
        assert gone(hung, 5)

    def test_where_no_process_is_granted_it_is_one_line(self, phi, monkeypatch):
        def refused(*arguments, **options):
            raise OSError(11, "Resource temporarily unavailable")

        monkeypatch.setattr(launch.subprocess, "Popen", refused)
        with pytest.raises(PhiError, match="cannot be started: Resource temporarily unavailable"):
            phi("x")

    @pytest.mark.parametrize("junk", [b"junk", msgspec.msgpack.encode({"type": "Cancel", "id": "one"})])
    def test_a_call_that_is_none_ends_the_process_and_what_waits_in_one_line(self, phi, worker, slow_model, junk):
        stream = phi.stream("ice", model=str(slow_model), max_tokens=3000)
        next(stream)
        worker._process._outgoing.send_bytes(junk)
        with pytest.raises(WorkerEnded, match=r"ended with status 1 \(.*(DecodeError|ValidationError)"):
            stream.run()
        assert phi(HAIKU).tokens

    def test_an_event_that_cannot_be_sent_fails_its_call_alone(self, phi, worker, monkeypatch):
        bootstrap = launch._bootstrap
        patch = (
            "from phi_magic.engine.engine import Engine; from phi_magic.generation.backend import Started, Step; "
            "Engine.generate = lambda *arguments, **options: iter([Started(), Step(text=chr(0xd800))]); "
        )
        monkeypatch.setattr(
            launch, "_bootstrap", lambda *pipes: bootstrap(*pipes).replace("; main(", f"; {patch}main(")
        )
        phi.load()
        first = worker.pid
        with pytest.raises(RuntimeError, match=r"Events cannot be sent: .*surrogates not allowed"):
            phi("x")
        assert phi.tokenize("ice")
        assert worker.pid == first

    def test_what_is_not_a_message_ends_the_process(self, phi, worker, monkeypatch):
        monkeypatch.setattr(
            launch,
            "_bootstrap",
            lambda calls, answers: (
                f"from multiprocessing.connection import Connection; import time\n"
                f"c = Connection({answers}); c.send_bytes(b'junk'); time.sleep(60)"
            ),
        )
        with pytest.raises(WorkerEnded, match="SIGKILL"):
            phi("x")


ASK = """
import sys, time
from phi_magic import Phi
from phi_magic.generation.wire import Cancel, Generate, encode
from phi_magic.generation.worker import shared
phi = Phi(model="demo")
phi("x", max_tokens=1)
print(shared.pid, flush=True)
"""


class TestKernel:
    def test_nothing_of_llama_cpp_is_imported(self):
        done = run(
            ASK + "phi.map(['x'] * 2, max_tokens=1, progress=False); phi.look('x'); phi.describe(); phi.tokenize('x')\n"
            "print(*[name for name in sys.modules if name.startswith(('llama_cpp', 'phi_magic.engine'))])"
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split()[1:] == []

    @pytest.mark.parametrize("end", ["", "sys.exit(3)", "import os; os._exit(4)", "raise ValueError", "1 / 0"])
    def test_no_process_is_left_when_python_ends(self, end):
        done = run(ASK + end)
        assert gone(int(done.stdout), 1)

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
    def test_nor_when_it_is_killed(self, number):
        kernel = subprocess.Popen([sys.executable, "-c", ASK + "time.sleep(60)"], stdout=subprocess.PIPE, text=True)
        with kernel:
            pid = int(kernel.stdout.readline())
            kernel.send_signal(number)
            kernel.wait(10)
            assert gone(pid, 1)

    def test_nor_when_a_child_of_the_kernel_lives_on(self):
        kernel = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "ignore",
                "-c",
                ASK + "import os\nif os.fork(): print('forked', flush=True)\ntime.sleep(60)",
            ],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        with kernel:
            pid = int(kernel.stdout.readline())
            assert kernel.stdout.readline() == "forked\n"
            kernel.kill()
            kernel.wait(10)
            assert gone(pid, 2)
            os.killpg(kernel.pid, signal.SIGKILL)

    @pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise ValueError"])
    def test_a_script_that_ends_with_a_half_read_answer_exits(self, end):
        done = run(ASK + "stream = phi.stream('Write a haiku')\nnext(stream)\n" + end, timeout=30)
        assert gone(int(done.stdout), 1)
        assert done.returncode == {"": 0, "sys.exit(3)": 3, "raise ValueError": 1}[end]

    def test_a_script_needs_no_main_guard(self, tmp_path):
        script = tmp_path / "script.py"
        script.write_text(
            "from phi_magic import Phi\nprint(Phi(model='demo', seed=1)('x', max_tokens=3).finish_reason)\n"
        )
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == ("length\n", "")

    def test_a_file_of_the_user_that_is_named_like_a_library_is_not_taken_for_it(self, tmp_path):
        for name in ("numpy", "queue", "llama_cpp", "msgspec"):
            (tmp_path / f"{name}.py").write_text("raise SystemExit(9)")
        script = "import sys; here = sys.path.pop(0)\nfrom phi_magic import Phi; Phi; import msgspec, numpy, queue\n"
        done = run(
            script + "sys.path.insert(0, here)\n" + ASK, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(PROJECT)}
        )
        assert done.returncode == 0, done.stderr

    def test_an_interrupt_of_the_process_group_does_not_reach_it(self):
        script = (
            ASK + "import os, signal\ntry:\n    os.killpg(0, signal.SIGINT); time.sleep(1)\nexcept KeyboardInterrupt:\n"
        )
        script += "    print(shared.pid, len(phi('x', max_tokens=2).tokens))"
        done = run(script, start_new_session=True)
        first, second, count = done.stdout.split()
        assert (first, count) == (second, "2")

    @pytest.mark.filterwarnings("ignore:.*fork")
    def test_a_forked_child_has_a_process_of_its_own(self):
        script = ASK + (
            "import os\n"
            "stream = phi.stream('Write a haiku', seed=1); next(stream)\n"
            "if not os.fork():\n"
            "    try:\n"
            "        next(stream)\n"
            "    except Exception as error:\n"
            "        print(error, flush=True)\n"
            "    print(phi('x', max_tokens=2).usage.completion_tokens, shared.pid, flush=True)\n"
            "    os._exit(0)\n"
            "os.wait(); stream.run(); print(stream.reply.finish_reason, shared.pid)\n"
        )
        lines = run("import warnings; warnings.simplefilter('ignore')\n" + script).stdout.splitlines()
        parents = lines[0]
        assert lines[1] == "a forked process cannot read its parent's answer: ask again in the child"
        count, childs = lines[2].split()
        assert (count, childs != parents) == ("2", True)
        assert lines[3] == f"stop {parents}"
        assert gone(int(childs), 1)

    def test_two_kernels_have_a_process_each_and_the_same_answers(self):
        script = ASK + "print(repr(phi('Write a haiku', seed=1).text))"
        both = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
        said = []
        for kernel in both:
            with kernel:
                said.append(kernel.stdout.read().splitlines())
        (one, answer), (other, same) = said
        assert one != other
        assert answer == same != "''"

    def test_few_file_descriptors_are_one_line(self):
        script = (
            "import resource, os\nfrom phi_magic import Phi, PhiError\nPhi(model='demo')('x', max_tokens=1)\nPhi().unload()\n"
            "resource.setrlimit(resource.RLIMIT_NOFILE, (6, 6))\n"
            "held = [os.open('/dev/null', 0) for _ in range(6 - len(os.listdir('/proc/self/fd')) + 1)]\n"
            "try:\n    Phi(model='demo')('x', max_tokens=1)\nexcept PhiError as error:\n    print(error)\n"
        )
        done = run(script, timeout=60)
        assert "Too many open files" in done.stdout, done.stderr

    @pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
    def test_closed_standard_streams_are_not_taken_for_the_pipes(self, closed, tmp_path):
        script = (
            "from phi_magic import Phi; open('said', 'w').write(Phi(model='demo')('x', max_tokens=2).finish_reason)"
        )
        subprocess.run(["bash", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, script], cwd=tmp_path, check=True)
        assert (tmp_path / "said").read_text() == "length"

    def test_a_small_stack_for_threads_is_enough(self):
        script = (
            "import threading\nfrom phi_magic import Phi\nsaid = []\nthreading.stack_size(64 * 1024)\n"
            "one = threading.Thread(target=lambda: said.append(Phi(model='demo')('x', max_tokens=2).finish_reason))\n"
            "one.start(); one.join(); print(said)\n"
        )
        assert run(script).stdout == "['length']\n"

    def test_a_handler_that_raises_is_heard_and_the_partial_answer_stays(self, slow_model):
        phi = Phi(model=str(slow_model), max_tokens=3000)
        stream = phi.stream("ice")

        def handler(*_):
            raise TimeoutError("enough")

        before = signal.signal(signal.SIGALRM, handler)
        try:
            next(stream)
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(TimeoutError, match="enough"):
                stream.run()
        finally:
            signal.signal(signal.SIGALRM, before)
        assert stream.reply.text
        assert stream.reply.finish_reason == "interrupted"
        assert shared.pid


def test_a_stop_before_the_process_is_there_starts_none(worker):
    phi = Phi(model="demo")
    phi.backend = worker
    stream = phi.stream("x")
    stream.stop()
    assert list(stream) == []
    assert worker.pid is None


def test_unloading_waits_for_the_answer_that_is_written(phi, worker):
    stream = phi.stream(HAIKU)
    next(stream)
    worker.unload(Stop())
    stream.run()
    assert stream.reply.finish_reason == "stop"
    assert worker.pid is None


def test_the_kernel_lets_go_of_what_was_asked_while_a_map_runs(phi):
    def held():
        return sum(isinstance(one, GenerationRequest) for one in gc.get_objects())

    gc.collect()
    before = held()
    stream = phi.stream_all([(f"Row {number}", {"max_tokens": 1}) for number in range(40)])
    assert held() == before + 40
    left = [held() for _ in stream]
    assert left[-1] <= before + 1  # what all had in common, in the call
