"""The real llama_cpp.server and the real llama-server, both with the shipped model, beside the local backend."""

import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from phi_magic import Phi, PhiError
from phi_magic.errors import PromptTooLong
from phi_magic.sampling import stages

DEMO = str(files("phi_magic") / "demo" / "phi-demo.gguf")
LLAMA_SERVER = Path(__file__).parents[2] / "build" / "llama-server" / "cmake" / "bin" / "llama-server"
HAIKU = "Write a haiku about ice hockey"
RAW = f"<|user|>\n{HAIKU}<|end|>\n<|assistant|>\n"
SCHEMA = {
    "type": "object",
    "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["age"],
    "additionalProperties": False,
}


needs_llama_server = pytest.mark.skipif(
    not LLAMA_SERVER.exists(), reason="llama-server is not built: make llama-server test-servers builds it"
)


def posted(url, body):
    """What a server answers, asked without phi_magic."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def tokenize(text):
    return {"content": text, "parse_special": True, "add_special": True, "with_pieces": True}


def kept(position, **settings):
    """The texts of the tokens that may be drawn."""
    return {position.names[token] for token in np.flatnonzero(stages(position.logits, (), **settings).kept)}


@contextmanager
def running(command, log):
    """Run a server until the block ends; yields its address and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1"
    with log.open("wb") as out:
        process = subprocess.Popen([*command, "--port", str(port)], stdout=out, stderr=out)
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"{url}/models", timeout=5):
                    break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
        yield url, process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def python_server(tmp_path_factory):
    command = [sys.executable, "-m", "llama_cpp.server", "--model", DEMO, "--n_ctx", "512", "--logits_all", "true"]
    with running(command, tmp_path_factory.mktemp("server") / "log") as (url, _):
        yield url


@pytest.fixture(scope="module")
def llama_server(tmp_path_factory):
    if not LLAMA_SERVER.exists():
        pytest.skip("llama-server is not built: make llama-server test-servers builds it and runs these tests")
    command = [str(LLAMA_SERVER), "--model", DEMO, "--ctx-size", "4096", "--parallel", "8"]
    with running(command, tmp_path_factory.mktemp("server") / "log") as (url, _):
        yield url


@pytest.fixture(params=["python_server", "llama_server"])
def url(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def phi(url):
    return Phi(model=url, seed=1, max_tokens=30, temperature=0, repeat_penalty=1)


@pytest.fixture
def local():
    return Phi(model="demo", seed=1, max_tokens=30, temperature=0, repeat_penalty=1)


def test_the_greedy_text_after_the_same_tokens_is_the_local_one(phi, local):
    assert phi(RAW, raw=True).text == local(RAW, raw=True).text


def test_llama_cpp_server_penalises_the_answer_alone_as_the_local_backend_does(python_server, local):
    phi = Phi(model=python_server, seed=1, max_tokens=30, temperature=0)
    assert phi.repeat_penalty == 1.1
    assert phi(RAW, raw=True).text == local(RAW, raw=True, repeat_penalty=1.1).text


def test_llama_server_penalises_the_prompt_too_which_explains_its_other_text(llama_server, local):
    begun = f"{RAW} The cold helmets glide,\nthe"
    reply = Phi(model=llama_server, seed=1, max_tokens=30, temperature=0)(begun, raw=True, top_logprobs=1)
    prompt = [one["id"] for one in posted(llama_server.removesuffix("/v1") + "/tokenize", tokenize(begun))["tokens"]]

    def least(before):
        """The least probability of a token that was written, as a share of that of the likeliest one."""
        shares, answer = [], []
        for token in reply.tokens:
            logits = local.look(begun, answer, raw=True).logits
            chances = stages(logits, [*before, *answer], temperature=0, repeat_penalty=1.1, repeat_last_n=64).penalised
            shares.append(chances[token.id] / chances.max())
            answer.append(token.id)
        return min(shares)

    assert least(prompt) > 0.999  # rounding decides between two that are as likely
    assert least([]) < 0.9
    assert reply.text != local(begun, raw=True, repeat_penalty=1.1).text


@pytest.mark.parametrize(("server", "before"), [("python_server", True), ("llama_server", False)])
def test_top_p_cuts_before_the_temperature_on_llama_cpp_server_and_after_it_on_llama_server(
    request, local, server, before
):
    settings = {"top_p": 0.6, "temperature": 3, "repeat_penalty": 1}
    here = local.look(RAW, raw=True)
    after_it = kept(here, **settings)
    before_it = kept(here, **settings | {"temperature": 1})
    assert before_it < after_it
    phi = Phi(model=request.getfixturevalue(server), max_tokens=1, **settings)
    drawn = {phi(RAW, raw=True, seed=seed).text for seed in range(40)} - {""}  # one that ends the answer has no text
    assert drawn <= (before_it if before else after_it)
    assert (drawn <= before_it) is before


def test_so_it_is_in_a_conversation_where_the_server_begins_a_sequence_as_the_model_wants(llama_server, local):
    phi = Phi(model=llama_server, seed=1, max_tokens=30, temperature=0, repeat_penalty=1)
    reply = phi(HAIKU)
    assert reply.text == local(HAIKU).text
    assert reply.usage.prompt_tokens == local(HAIKU).usage.prompt_tokens


def test_llama_cpp_server_leaves_the_first_token_out_which_explains_its_other_text(python_server, local):
    body = {"messages": [{"role": "user", "content": HAIKU}], "max_tokens": 1}
    counted = posted(f"{python_server}/chat/completions", body)["usage"]["prompt_tokens"]
    assert counted == local(HAIKU, max_tokens=1).usage.prompt_tokens - 1  # its chat endpoint adds no <s>


def test_a_seed_gives_the_same_text_again(phi):
    texts = {phi(HAIKU, temperature=1, seed=5).text for _ in range(3)}
    assert len(texts) == 1


def test_log_probabilities_are_those_of_the_local_model(phi, local):
    there = phi(RAW, raw=True, top_logprobs=3, max_tokens=5).tokens
    here = local(RAW, raw=True, top_logprobs=3, max_tokens=5).tokens
    assert len(there) == len(here)
    for one, other in zip(there, here, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=0.05)
        assert one.rank == other.rank


def test_the_likeliest_tokens_are_those_of_the_local_model(phi, local):
    there, here = phi.look(RAW, raw=True), local.look(RAW, raw=True)
    best = lambda position, at: position.names[int(np.argsort(-position.logits)[at])]  # noqa: E731
    assert [best(there, at) for at in range(3)] == [best(here, at) for at in range(3)]


def test_an_answer_follows_its_schema(phi):
    data = phi("How old?", schema=SCHEMA, temperature=0.8).data
    assert data is not None
    assert 0 <= data["age"] <= 99


def test_a_stop_keeps_what_has_come_and_the_next_is_answered(phi, local):
    whole = local(RAW, raw=True).text
    stream = phi.stream(RAW, raw=True)
    begun = next(stream)
    stream.stop()
    stream.run()
    assert whole.startswith(stream.reply.text)
    assert stream.reply.text.startswith(begun)
    assert phi(RAW, raw=True).text == whole


def test_a_server_that_is_killed_in_mid_answer_leaves_what_it_wrote(slow_model, tmp_path):
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(slow_model), "--n_ctx", "2048"]
    with running(command, tmp_path / "log") as (url, process):
        stream = Phi(model=url, seed=1, max_tokens=1500).stream("Go on")
        begun = next(stream)
        process.kill()
        with pytest.raises(PhiError) as error:
            stream.run()
    assert re.match(r"http://127\.0\.0\.1:\d+/v1: the connection broke: ", str(error.value))
    assert stream.reply.text.startswith(begun)
    assert stream.reply.finish_reason == "interrupted"


def test_many_are_answered_in_order(phi):
    topics = ["snow", "rain", "tea", "bees"]
    replies = phi.map([f"Write a haiku about {topic}" for topic in topics], progress=False)
    assert [reply.prompt.split()[-1] for reply in replies] == topics
    assert all(reply.text for reply in replies)


@needs_llama_server
def test_a_llama_server_of_several_models_answers_with_the_one_that_is_named(tmp_path, local):
    for name in ("one", "two"):
        (tmp_path / f"{name}.gguf").symlink_to(DEMO)
    command = [str(LLAMA_SERVER), "--models-dir", str(tmp_path), "--ctx-size", "512"]
    with running(command, tmp_path / "log") as (url, _):
        phi = Phi(model=f"{url}#two", seed=1, max_tokens=30, temperature=0, repeat_penalty=1)
        assert len(phi.look(HAIKU).logits) == len(local.look(HAIKU).logits)
        assert phi(HAIKU).text == local(HAIKU).text
        with pytest.raises(PhiError, match=r"which model\? there are one, two"):
            Phi(model=url)(HAIKU)


class TestLlamaServer:
    @pytest.fixture
    def phi(self, llama_server):
        return Phi(model=llama_server, seed=1, max_tokens=30, temperature=0, repeat_penalty=1)

    def test_a_control_token_in_a_prompt_is_text(self, phi, local):
        prompt = "Say <|end|> twice"
        assert phi(prompt).usage.prompt_tokens == local(prompt).usage.prompt_tokens

    def test_tokenize_gives_the_models_tokens(self, phi, local):
        assert [token.id for token in phi.tokenize("ice hockey<|end|>")] == [
            token.id for token in local.tokenize("ice hockey<|end|>")
        ]

    def test_the_explorer_looks_at_its_tokens(self, phi, local):
        there, here = phi.look(HAIKU), local.look(HAIKU)
        assert there.names[int(there.logits.argmax())] == here.names[int(here.logits.argmax())]

    def test_it_knows_which_tokens_end_an_answer(self, phi, local):
        assert phi.look(HAIKU).ends == local.look(HAIKU).ends

    @pytest.mark.parametrize("text", ["The puck glides", "goalie goalie <|end|>"])
    def test_a_given_text_is_scored_as_on_this_machine(self, phi, local, text):
        there, here = (one.score(HAIKU, text, top_logprobs=2) for one in (phi, local))
        assert [token.id for token in there.tokens] == [token.id for token in here.tokens]
        logprobs = [[token.logprob for token in one.tokens] for one in (there, here)]
        assert logprobs[0] == pytest.approx(logprobs[1], rel=0.02, abs=0.05)  # their KV caches have other types

    def test_choices_have_the_probabilities_that_they_have_on_this_machine(self, phi, local):
        offered = ["The puck glides", "Puck glides", "Snow"]
        there, here = (one(HAIKU, choices=offered).choices for one in (phi, local))
        assert there == pytest.approx(here, abs=0.02)

    def test_a_prompt_that_is_too_long_is_the_error_that_it_is_on_this_machine(self, phi):
        with pytest.raises(PromptTooLong, match="the server's context") as error:
            phi("ice " * 5000)
        assert error.value.tokens > error.value.context

    def test_an_answer_branches(self, phi, local):
        begin = [token.id for token in local(HAIKU).tokens[:3]]
        assert phi(HAIKU, begin=begin).text == local(HAIKU).text


@pytest.mark.parametrize("raw", [False, True])
def test_llama_cpp_server_says_why_it_refuses_a_prompt_where_its_stream_says_nothing(python_server, raw):
    with pytest.raises(PromptTooLong, match="the server's context 512"):
        Phi(model=python_server)("ice " * 1000, raw=raw)


def test_llama_cpp_server_cannot_cut_texts(python_server):
    with pytest.raises(PhiError, match=r"llama_cpp\.server cannot do this: llama-server alone"):
        Phi(model=python_server).tokenize("ice")
