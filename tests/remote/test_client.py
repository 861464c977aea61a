"""Everything that a server may do wrong, and the key that it is sent."""

import dataclasses
import gzip
import itertools
import json
import logging
import time
from pathlib import Path

import pytest

from phi_magic import Phi, PhiError
from phi_magic.errors import PromptTooLong
from phi_magic.recorded import Recorded
from phi_magic.remote import client, servers
from phi_magic.replay import replay
from tests.openai_server import RESET, OpenAIServer, answer, chunk

KEY = "sk-secret-5"
CERTIFICATE = Path(__file__).parents[1] / "data" / "servers" / "localhost.pem"


def logprobs(**members):
    """A chunk with the log-probability of one token."""
    piece = chunk("Hi")
    piece["choices"][0]["logprobs"] = {"content": [{"token": "Hi", "logprob": -0.5, **members}]}
    return piece


class TestKey:
    def test_it_goes_to_that_server_and_nowhere_else(self, phi, server, monkeypatch):
        monkeypatch.setenv(client.KEY, KEY)
        reply = phi("Hi")
        assert set(server.keys) == {f"Bearer {KEY}"}
        assert KEY not in json.dumps(reply.to_dict())
        assert KEY not in repr(phi.trait_values())
        assert KEY not in repr(reply)

    def test_it_is_in_no_log(self, phi, server, monkeypatch, caplog):
        monkeypatch.setenv(client.KEY, KEY)
        caplog.set_level(logging.DEBUG)
        phi("Hi")
        assert {f"Bearer {KEY}"} == set(server.keys)
        assert any(record.name.startswith("http") for record in caplog.records)
        assert not any(KEY in repr(vars(record)) + record.getMessage() for record in caplog.records)

    def test_a_file_s_record_does_not_say_to_whom_it_goes(self, phi, server, monkeypatch):
        monkeypatch.setenv(client.KEY, KEY)
        foreign = dataclasses.replace(Recorded.of(phi("Hi"), "cell 1"), foreign=True)
        server.keys.clear()
        assert "set Phi.model or PHI_MAGIC_MODEL to http://" in replay(Phi(), foreign).failure
        assert "the file names the server" in replay(Phi(model="http://127.0.0.1:1/v1"), foreign).failure
        assert server.keys == []
        assert replay(Phi(model=phi.model), foreign).same

    def test_no_proxy_reads_it(self, server, monkeypatch):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
        far = Phi(model="http://far.invalid/v1#phi-4")
        assert far("Hi").text == "Hello there"  # without a key it is the proxy that is asked
        server.keys.clear()
        monkeypatch.setenv(client.KEY, KEY)
        with pytest.raises(PhiError, match="no server answers there"):
            far("Hi")
        assert server.keys == []

    def test_a_refusal_does_not_repeat_it(self, phi, server, monkeypatch):
        monkeypatch.setenv(client.KEY, KEY)
        server.replies = [(400, {}, {"error": {"message": f"bad header Bearer {KEY}"}})]
        with pytest.raises(PhiError, match="400: bad header Bearer") as error:
            phi("Hi")
        assert KEY not in str(error.value)

    def test_another_host_is_not_followed(self, phi, server, monkeypatch):
        monkeypatch.setenv(client.KEY, KEY)
        with OpenAIServer() as other:
            server.replies = [(307, {"Location": f"{other.url}/chat/completions"}, {})]
            with pytest.raises(PhiError, match=r"points to http://127\.0\.0\.1:\d+/v1/chat/completions, which is not"):
                phi("Hi")
            assert other.keys == []

    @pytest.mark.parametrize(
        ("key", "says"), [("", "wants a key: set PHI_MAGIC_API_KEY"), (KEY, "does not take the key")]
    )
    def test_401_says_what_to_do(self, phi, server, monkeypatch, key, says):
        monkeypatch.setenv(client.KEY, key)
        server.replies = [(401, {}, {"error": "no"})]
        with pytest.raises(PhiError, match=says):
            phi("Hi")


BROKEN = {
    "half a chunk": ([chunk("Hello"), b'data: {"choices": [{"del'], "broke off before the answer's end"),
    "the end is missing": ([chunk("Hello")], "broke off before the answer's end"),
    "an error in the midst": ([chunk("Hello"), {"error": {"message": "out of memory"}}], "broke off: out of memory"),
    "wrong JSON": ([chunk("Hello"), "{nonsense}"], "sends what is no piece of an answer"),
    "JSON of another form": ([chunk("Hello"), '{"choices": 5}'], "sends what is no piece of an answer"),
    "no chunk": ([chunk("Hello"), '{"hello": 5}'], "sends what is no piece of an answer"),
    "10 MB in one event": ([chunk("Hello"), "x" * 10_000_000], "more than 4 MB in one event"),
    "no line break": ([chunk("Hello"), b"data: " + b"x" * 10_000_000], "more than 4 MB in one event"),
    "nested too deep": ([chunk("Hello"), f'{{"choices": {"[" * 100_000}'], "sends what is no piece of an answer"),
    "an error nested too deep": ([chunk("Hello"), f'{{"error": {"[" * 900}{"]" * 900}}}'], "broke off"),
    "bytes that are none": ([chunk("Hello"), logprobs(bytes=[300])], "sends what is no piece of an answer"),
    "killed": ([chunk("Hello"), 0.1, RESET], "the connection broke"),
    "500 in the midst": ([chunk("Hello"), {"error": {"message": "boom", "code": 500}}], "broke off: boom"),
}
REFUSED = {
    "404": ((404, {}, {"error": {"message": "model not found"}}), "answers 404: model not found"),
    "500": ((500, {}, {"detail": "boom"}), "answers 500: boom"),
    "a proxy's page": (
        (502, {"Content-Type": "text/html"}, b"<html>Bad gateway</html>"),
        r"answers 502: a page \(HTML\)",
    ),
    "a page instead of an answer": ((200, {"Content-Type": "text/html"}, b"<html></html>"), "sends text/html instead"),
    "a whole answer": ((200, {}, {"choices": []}), "sends application/json instead"),
    "nested too deep": ((400, {}, b"[" * 100_000), "answers 400"),
    "an error nested too deep": ((400, {}, b'{"error": ' + b"[" * 900 + b"]" * 900 + b"}"), "answers 400"),
    "half of a chunked body": (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n40\r\ndata: {",
        "the connection broke",
    ),
    "no HTTP": (b"nonsense", "the connection broke"),
    "nothing": (b"", "the connection broke"),
    "not gzip": (
        (200, {"Content-Type": "text/event-stream", "Content-Encoding": "gzip"}, b"no gzip"),
        "connection broke",
    ),
}


class TestFailures:
    @pytest.fixture(autouse=True)
    def at_once(self, monkeypatch):
        monkeypatch.setattr(client, "PATIENCE", 0)

    @pytest.mark.parametrize("case", BROKEN)
    def test_in_the_midst_the_partial_answer_stays(self, phi, server, case):
        server.replies, says = [BROKEN[case][0]], BROKEN[case][1]
        stream = phi.stream("Hi")
        with pytest.raises(PhiError, match=says) as error:
            stream.run()
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 500
        assert (stream.reply.text, stream.reply.finish_reason) == ("Hello", "interrupted")
        server.replies = [answer("again")]
        assert phi("Hi").text == "again"

    @pytest.mark.parametrize("case", REFUSED)
    def test_before_an_answer_is_one_line(self, phi, server, case):
        server.replies, says = [REFUSED[case][0]], REFUSED[case][1]
        with pytest.raises(PhiError, match=says):
            phi("Hi")

    def test_gzip_is_read(self, phi, server):
        body = gzip.compress(b"".join(f"data: {json.dumps(one)}\n\n".encode() for one in answer("Hello")[:-1]))
        headers = {"Content-Type": "text/event-stream", "Content-Encoding": "gzip"}
        server.replies = [(200, headers, body)]
        assert phi("Hi").text == "Hello"

    def test_a_server_that_does_not_stop_is_stopped(self, phi, server):
        server.replies = [lambda body: (chunk("x") for _ in itertools.count())]
        reply = phi("Hi", max_tokens=50)
        assert reply.finish_reason == "length"
        assert server.left.wait(5)

    def test_no_server(self):
        with OpenAIServer() as server:
            url = server.url
        with pytest.raises(PhiError, match=r"no server answers there \(.*\); is it running\?"):
            Phi(model=url)("Hi")

    @pytest.mark.parametrize("said", [{"data": 5}, [1], "text", {"data": [{"no": "id"}]}, {"data": ["id"]}])
    def test_a_list_of_models_that_is_none(self, phi, server, said):
        server.paths["/v1/models"] = said
        with pytest.raises(PhiError, match="its list of models is none; is the address right"):
            phi("Hi")

    @pytest.mark.parametrize("deep", [b"[" * 100_000, b'{"data": ' + b"[" * 900 + b"]" * 900 + b"}"])
    def test_one_that_is_nested_too_deep(self, phi, server, deep):
        server.paths["/v1/models"] = (200, {}, deep)
        with pytest.raises(PhiError, match=r"sends (what is not JSON|JSON of more than 32 levels)"):
            phi("Hi")


class TestSilence:
    """What goes on for ever, or never begins."""

    @pytest.fixture(autouse=True)
    def impatient(self, monkeypatch):
        monkeypatch.setattr(client, "SILENCE", 0.3)
        monkeypatch.setattr(client, "PATIENCE", 0)

    @pytest.mark.parametrize("event", [b": keep-alive\n\n", {"choices": []}, chunk("")])
    def test_a_stream_without_text_ends(self, phi, server, event):
        server.replies = [lambda body: itertools.chain([chunk("Hello")], itertools.cycle([event, 0.05]))]
        with pytest.raises(PhiError, match=r"the server has written nothing for 0\.3 s"):
            phi("Hi")
        assert phi.last.text == "Hello"
        assert server.left.wait(5)

    def test_a_flood_without_text_ends(self, phi, server, monkeypatch):
        monkeypatch.setattr(client, "SILENCE", 600)
        monkeypatch.setattr(client, "MOST_EVENT", 100_000)
        server.replies = [lambda body: itertools.repeat(b": " + b"x" * 998 + b"\n\n")]
        with pytest.raises(PhiError, match="as no answer of this length does"):
            phi("Hi", max_tokens=1)
        assert server.left.wait(5)

    def test_a_server_that_says_nothing_in_mid_answer_is_given_up(self, phi, server):
        server.replies = [[chunk("Hello"), 2]]
        with pytest.raises(PhiError, match=r"the server has said nothing for 0\.3 s"):
            phi("Hi")
        assert phi.last.text == "Hello"

    def test_one_that_accepts_and_never_answers_is_given_up(self, phi, server):
        server.replies = [lambda body: time.sleep(2) or answer("late")]
        with pytest.raises(PhiError, match=r"the server has said nothing for 0\.3 s"):
            phi("Hi")

    def test_its_kind_is_asked_for_no_longer_than_a_glance(self, phi, server, monkeypatch):
        monkeypatch.setattr(client, "SILENCE", 600)
        monkeypatch.setattr(servers, "GLANCE", 0.2)
        server.paths["/version"] = lambda body: time.sleep(2) or {}
        assert phi("Hi").engine["server"] == "a server of unknown kind"


class TestCertificates:
    @pytest.fixture
    def server(self):
        with OpenAIServer() as server:
            server.use_tls(CERTIFICATE)
            yield server
            server.shutdown()

    def test_one_that_nobody_vouches_for_is_refused_and_the_key_is_not_sent(self, phi, server, monkeypatch):
        monkeypatch.setenv(client.KEY, KEY)
        with pytest.raises(PhiError, match=r"its TLS certificate is not trusted \(.*self.signed.*\); .*SSL_CERT_FILE"):
            phi("Hi")
        assert server.keys == []

    def test_one_s_own_authority_can_be_named_once_it_was_missed(self, phi, monkeypatch):
        with pytest.raises(PhiError, match="not trusted"):
            phi("Hi")
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        assert phi("Hi").text == "Hello there"

    @pytest.mark.parametrize("content", [None, "no certificate"])
    def test_an_authority_s_file_that_is_none_is_one_line(self, phi, monkeypatch, tmp_path, content):
        file = tmp_path / "authority.pem"
        if content:
            file.write_text(content)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        with pytest.raises(PhiError, match="SSL_CERT_FILE or SSL_CERT_DIR names no file of certificates"):
            phi("Hi")


@pytest.mark.parametrize(
    ("said", "tokens", "context"),
    [
        (
            {
                "code": 400,
                "message": "request (5000 tokens) exceeds the available context size (4096 tokens)",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 5000,
                "n_ctx": 4096,
            },
            5000,
            4096,
        ),
        (
            {
                "code": 400,
                "message": "This model's maximum context length is 4096 tokens. However, you requested 5512 tokens "
                "(5000 in the messages, 512 in the completion). Please reduce the length.",
            },
            5000,
            4096,
        ),
        (
            {
                "code": 400,
                "message": "You passed 5000 input tokens and requested 512 output tokens. However, the model's context "
                "length is only 4096 tokens, resulting in a maximum input length of 3584 tokens.",
            },
            5000,
            4096,
        ),
    ],
)
def test_a_prompt_that_is_too_long_is_the_error_that_it_is_on_this_machine(phi, server, said, tokens, context):
    server.replies = [(400, {}, {"error": said})]
    with pytest.raises(PromptTooLong, match="the prompt has 5000 tokens, the server's context 4096") as error:
        phi("Hi")
    assert (error.value.tokens, error.value.context) == (tokens, context)


def test_a_prompt_that_leaves_no_room_for_the_longest_answer_is_one_line(phi, server):
    message = (
        "This model's maximum context length is 4096 tokens. However, you requested 512 output tokens and your prompt "
        "contains at least 3585 input tokens, for a total of at least 4097 tokens."
    )
    server.replies = [(400, {}, {"error": {"message": message, "param": "input_tokens", "code": 400}})]
    with pytest.raises(PromptTooLong, match=r"3585 tokens, the answer up to 512, .* 4096: .*, or lower max") as error:
        phi("Hi")
    assert (error.value.tokens, error.value.context) == (3585, 3584)


def test_429_is_asked_again(phi, server):
    server.replies = [(429, {"Retry-After": "0"}, {"error": "busy"}), (503, {"Retry-After": "0"}, {}), answer("Hello")]
    told = []
    stream = phi.stream("Hi", on_status=told.append)
    stream.run()
    assert stream.reply.text == "Hello"
    assert "the server answers 429; trying again in 0 s" in told
