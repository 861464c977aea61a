"""Answers that are kept on disk, and used again."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from phi_magic import Phi
from phi_magic.engine.engine import Engine
from phi_magic.errors import RowsRefused
from phi_magic.generation import cache as caches
from phi_magic.generation import chunk as chunks
from phi_magic.generation import computing as computings
from phi_magic.generation.computing import computer
from phi_magic.generation.plan import Plan
from phi_magic.generation.request import GenerationRequest, ModelReference
from phi_magic.generation.store import default_path, opened
from phi_magic.models.files import file_sha256, resolve
from phi_magic.parameters import SamplingParameters
from tests.architectures import ARCHITECTURES, TEMPLATE, write
from tests.openai_server import OpenAIServer

HAIKU = "Write a haiku about ice hockey"


class Counting:
    """A backend that counts what it is asked."""

    def __init__(self):
        self.engine = Engine()
        self.asked = 0

    def generate(self, request, stop, **options):
        self.asked += 1
        return self.engine.generate(request, stop, **options)

    def generate_many(self, requests, stop, **options):
        self.asked += len(requests)
        return self.engine.generate_many(requests, stop, **options)


@pytest.fixture
def phi(tmp_path):
    phi = Phi(model="demo", seed=1, max_tokens=12, cache=str(tmp_path / "answers.sqlite"))
    phi.backend = Counting()
    return phi


class TestAnswers:
    def test_the_second_is_the_same_and_asks_nobody(self, phi):
        first, second = phi(HAIKU, top_logprobs=2), phi(HAIKU, top_logprobs=2)
        assert phi.backend.asked == 1
        assert (first.from_cache, second.from_cache) == (False, True)
        for name in ("text", "tokens", "seed", "params", "finish_reason", "model_sha256", "engine"):
            assert getattr(second, name) == getattr(first, name)
        assert second.usage.completion_tokens == first.usage.completion_tokens
        assert "from the cache" in second.stats()
        assert "tokens/s" not in second.stats()

    def test_it_streams(self, phi):
        phi(HAIKU)
        stream = phi.stream(HAIKU)
        assert "".join(stream) == stream.reply.text
        assert stream.reply.from_cache

    @pytest.mark.parametrize(
        "change",
        [
            {"temperature": 0.1},
            {"top_p": 0.5},
            {"seed": 2},
            {"max_tokens": 11},
            {"stop": ["e"]},
            {"system": "Be brief."},
            {"schema": {"type": "integer"}},
            {"choices": ["a", "b"]},
            {"raw": True},
            {"top_logprobs": 1},
            {"begin": [300]},
            {"n_ctx": 512},
            {"profile": "memory"},
            {"now": "2026-01-01T00:00:00"},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_another_question_is_asked(self, phi, change):
        phi(HAIKU)
        phi(HAIKU, **change)
        assert phi.backend.asked == 2

    @pytest.mark.parametrize("change", [{"n_threads": 1}, {"keep_alive": 5}, {"format": "text"}, {"show_stats": False}])
    def test_what_the_text_does_not_depend_on_changes_nothing(self, phi, change):
        phi(HAIKU)
        assert phi(HAIKU, **change).from_cache

    def test_the_model_is_known_by_its_content(self, phi, tmp_path):
        copy = tmp_path / "copy.gguf"
        copy.write_bytes(resolve("demo").path.read_bytes())
        phi(HAIKU)
        first = phi(HAIKU, model=str(copy))  # its hash is not known yet
        assert first.text == phi(HAIKU, model=str(copy)).text
        assert phi(HAIKU, model=str(copy)).from_cache

    def test_an_answer_is_dated_where_its_own_prompt_has_the_date(self, phi, tmp_path):
        path = str(tmp_path / "dated.gguf")
        dated = "{% if messages[0].role == 'system' %}{{ strftime_now('%d %B %Y') }}{% endif %}"
        write(path, ARCHITECTURES["phi3"], template=dated + TEMPLATE)
        file_sha256(Path(path))
        assert [phi(HAIKU, model=path).from_cache for _ in range(2)] == [False, True]
        assert "now" not in phi(HAIKU, model=path).engine
        asked = [phi(HAIKU, model=path, system="Be brief.") for _ in range(2)]
        assert [reply.from_cache for reply in asked] == [False, False]  # tomorrow's prompt is another one
        assert "now" in asked[0].engine

    def test_one_of_many_is_not_one_alone(self, phi):
        phi(HAIKU)
        assert not phi.map([HAIKU], progress=False)[0].from_cache
        assert phi.map([HAIKU], progress=False)[0].from_cache

    def test_without_a_seed_nothing_is_kept(self, phi):
        phi.seed = None
        phi(HAIKU)
        phi(HAIKU)
        assert phi.backend.asked == 2
        assert opened(phi.cache).size()[0] == 0

    @pytest.mark.parametrize("options", [{"exact": False}, {"cache": False}])
    def test_what_is_not_promised_or_not_wanted_is_not_kept(self, phi, options):
        phi(HAIKU, **options)
        phi(HAIKU, **options)
        assert phi.backend.asked == 2

    def test_a_stopped_answer_is_not_kept(self, phi):
        stream = phi.stream(HAIKU, max_tokens=200, stop=[])
        next(stream)
        stream.stop()
        stream.run()
        assert stream.reply.finish_reason == "interrupted"
        assert opened(phi.cache).size()[0] == 0

    def test_another_llama_cpp_or_processor_asks_again(self, phi, monkeypatch):
        phi(HAIKU)
        monkeypatch.setattr(caches, "computing", lambda: "another")
        assert not phi(HAIKU).from_cache

    @pytest.mark.parametrize("name", ["computing", "planning"])
    def test_what_a_machine_of_another_kind_answered_is_not_kept(self, phi, monkeypatch, name):
        here = computer()
        monkeypatch.setattr(chunks, "computer", lambda: {**here, name: "another"})
        with ThreadPoolExecutor(1) as pool:
            assert phi.map([HAIKU], executor=pool, progress=False)[0].text
        assert opened(phi.cache).size()[0] == 0
        monkeypatch.undo()
        with ThreadPoolExecutor(1) as pool:
            phi.map([HAIKU], executor=pool, progress=False)
        assert opened(phi.cache).size()[0] == 1

    def test_another_memory_or_gpu_asks_again_where_the_plan_depends_on_it(self, phi, monkeypatch):
        plan = Plan(n_threads=1)
        phi(HAIKU), phi(HAIKU, plan=plan)
        monkeypatch.setattr(computings, "capacity", lambda: 2**28)
        assert phi(HAIKU, plan=plan).from_cache
        assert not phi(HAIKU).from_cache
        assert phi(HAIKU).from_cache
        monkeypatch.setattr(computings, "graphics", lambda: ["NVIDIA H100"])
        assert not phi(HAIKU).from_cache

    def test_no_process_is_started_for_what_is_kept(self, phi):
        phi(HAIKU)
        other = Phi(model="demo", seed=1, max_tokens=12, cache=phi.cache)
        from phi_magic.generation.worker import shared

        shared.close()
        assert other(HAIKU).from_cache
        assert shared.pid is None

    def test_a_servers_answers_are_kept_by_its_address(self, tmp_path):
        with OpenAIServer() as server:
            phi = Phi(model=server.url, seed=1, cache=str(tmp_path / "answers.sqlite"))
            assert [phi("Hi").from_cache for _ in range(2)] == [False, True]
            assert len(server.asked) == 1


class TestMap:
    def test_it_goes_on_with_the_rest(self, phi):
        prompts = [f"Write a haiku about {topic}" for topic in ("snow", "rain", "tea", "bees")]
        some = phi.map(prompts[1:3], progress=False)
        every = phi.map(prompts, progress=False)
        assert [reply.from_cache for reply in every] == [False, True, True, False]
        assert [reply.text for reply in every[1:3]] == [reply.text for reply in some]
        assert [reply.text for reply in every] == [
            reply.text for reply in phi.map(prompts, cache=False, progress=False)
        ]

    def test_without_a_seed_each_row_has_that_of_its_prompt(self, phi):
        phi.seed = None
        prompts = [HAIKU, "Write a haiku about snow", HAIKU]
        first, again = phi.map(prompts, progress=False), phi.map(prompts, progress=False)
        assert first[0].seed == first[2].seed != first[1].seed
        assert all(reply.from_cache for reply in again)

    def test_five_answers_to_one_prompt_differ_and_are_not_kept(self, phi):
        phi.seed = None
        replies = phi(HAIKU, n=5)
        assert len({reply.seed for reply in replies}) == 5
        assert len({reply.text for reply in replies}) > 1
        assert opened(phi.cache).size()[0] == 0
        assert [reply.seed for reply in phi(HAIKU, n=2, seed=5)] == [5, 6]
        assert all(reply.from_cache for reply in phi(HAIKU, n=2, seed=5))

    def test_a_first_row_that_is_refused_leaves_the_others_their_cache(self, phi):
        phi.seed = None
        for again in (False, True):
            replies = phi.map(["", HAIKU], on_error="keep", progress=False)
            assert [reply.finish_reason == "error" for reply in replies] == [True, False]
            assert replies[1].from_cache is again

    def test_refused_rows_have_their_own_numbers(self, phi):
        prompts = [HAIKU, "Write a haiku about snow", "word " * 300, HAIKU, "words " * 300]
        phi.map([prompts[0], prompts[1]], n_ctx=128, progress=False)
        with pytest.raises(RowsRefused, match="2 of 5 rows cannot be asked") as error:
            phi.map(prompts, n_ctx=128, progress=False)
        assert list(error.value.reasons) == [2, 4]
        with pytest.raises(RowsRefused, match=r"1 of 3 rows cannot be asked\. row 2: the prompt has"):
            phi.map(prompts[:3], n_ctx=128, progress=False)

    def test_a_sweep_without_a_seed_is_not_kept(self, phi):
        phi.seed = None
        phi.sweep(HAIKU, temperature=[0.5, 1.0], progress=False)
        assert opened(phi.cache).size()[0] == 0
        phi.sweep(HAIKU, seed=[1, 2], progress=False)
        assert opened(phi.cache).size()[0] == 2

    def test_a_model_is_looked_up_once(self, phi, monkeypatch):
        looked = []
        monkeypatch.setattr(caches, "resolve", lambda name, **_: looked.append(name) or resolve(name))
        phi.map([f"Write a haiku about {topic}" for topic in ("snow", "rain", "tea")], progress=False)
        assert looked == ["demo"]

    def test_a_kept_row_and_an_error_stand_side_by_side(self, phi):
        phi.map([HAIKU], n_ctx=128, progress=False)
        replies = phi.map([HAIKU, "word " * 300], n_ctx=128, on_error="keep", progress=False)
        assert [reply.finish_reason == "error" for reply in replies] == [False, True]
        assert replies[0].from_cache

    @pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
    def test_a_killed_kernel_loses_the_unfinished_rows_alone(self, tmp_path):
        path = tmp_path / "answers.sqlite"
        program = (
            "from phi_magic import Phi\n"
            f"phi = Phi(model='demo', max_tokens=12, cache={str(path)!r})\n"
            "stream = phi.stream_all([(f'Write a haiku about {n}', {}) for n in range(300)])\n"
            "for _ in stream:\n"
            "    print(sum(r.finish_reason != 'interrupted' for r in stream.replies), flush=True)\n"
        )
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as kernel:
            for line in kernel.stdout:
                if int(line) >= 120:
                    os.kill(kernel.pid, signal.SIGKILL)
                    break
        kept = opened(str(path)).size()[0]
        assert 120 <= kept < 300
        phi = Phi(model="demo", max_tokens=12)
        prompts = [f"Write a haiku about {number}" for number in range(300)]
        resumed = phi.map(prompts, cache=str(path), progress=False)
        assert sum(reply.from_cache for reply in resumed) == kept
        whole = phi.map(prompts, seed=[reply.seed for reply in resumed], progress=False)
        assert [reply.text for reply in resumed] == [reply.text for reply in whole]


class TestMagics:
    @pytest.fixture
    def ip(self, shell):
        shell.run_line_magic("load_ext", "phi_magic")
        shell.run_line_magic("config", "Phi.model = 'demo'")
        return shell

    def test_a_cell_run_again_says_so(self, ip, capsys):
        for _ in range(2):
            ip.run_cell_magic("phi", "--cache --seed 1 -n 8 -o answer", HAIKU)
        assert ip.user_ns["answer"].from_cache
        assert default_path().exists()

    def test_the_setting_takes_on_off_and_a_path(self, ip):
        for value, is_now in (
            ("True", "on"),
            ("'on'", "on"),
            ("False", ""),
            ("'off'", ""),
            ("'my.sqlite'", "my.sqlite"),
        ):
            ip.run_line_magic("config", f"Phi.cache = {value}")
            assert ip.run_line_magic("config", "Phi.cache") == is_now

    def test_the_kept_answers_are_listed_and_cleared(self, ip, capsys):
        ip.run_line_magic("phi_models", "cache")
        assert "no answers are kept yet" in capsys.readouterr().out
        ip.run_cell_magic("phi", "--cache --seed 1 -n 8 -q", HAIKU)
        ip.run_line_magic("phi_models", "cache")
        assert "1 answer, " in capsys.readouterr().out
        ip.run_line_magic("phi_models", "cache clear")
        assert "removed" in capsys.readouterr().out
        ip.run_line_magic("phi_models", "cache")
        assert "0 answers, " in capsys.readouterr().out


def test_the_key_is_of_plain_requests():
    request = GenerationRequest(ModelReference("demo"), (), SamplingParameters(), 1, 5)
    assert caches._key(request, "a", "wide", "") == caches._key(request, "a", "wide", "")
    assert caches._key(request, "a", "wide", "") != caches._key(request, "b", "wide", "")
    assert caches._key(request, "a", "wide", "") != caches._key(request, "a", "single", "")
