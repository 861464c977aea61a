"""Asking an OpenAI-compatible server, and everything that it may do wrong."""

import gzip
import itertools
import json
import threading
import time

import pytest
from IPython.core.error import UsageError

from phi_magic import Phi, PhiError
from phi_magic.remote import client
from phi_magic.remote.address import parse
from phi_magic.replay import Recorded, replay
from tests.openai_server import OpenAIServer, answer, chunk

SCHEMA = {
    "type": "object",
    "properties": {"age": {"type": "integer"}},
    "required": ["age"],
    "additionalProperties": False,
}
KEY = "sk-secret-5"


@pytest.fixture
def server():
    with OpenAIServer() as server:
        yield server
        server.shutdown()


@pytest.fixture
def phi(server):
    return Phi(model=server.url, seed=1, repeat_last_n=64)


def served(dialect, **options):
    """A server of one kind, with what asks it."""
    server = OpenAIServer(dialect, **options)
    return server, Phi(model=server.url, seed=1)


class TestAddress:
    @pytest.mark.parametrize(
        ("text", "base", "name"),
        [
            ("http://host:8000/v1#phi-4", "http://host:8000/v1", "phi-4"),
            ("http://host:8000", "http://host:8000/v1", ""),
            ("HTTP://host:8000/v1/", "http://host:8000/v1", ""),
            ("https://[::1]:1/openai/v1#a/b:c", "https://[::1]:1/openai/v1", "a/b:c"),
        ],
    )
    def test_what_it_says(self, text, base, name):
        assert (parse(text).base, parse(text).name) == (base, name)

    @pytest.mark.parametrize(
        "text", ["http://", "http://host:x/v1", "http://a b/v1", "http://[::1/v1", "http://h:0/v1"]
    )
    def test_what_is_none_is_one_line(self, text):
        with pytest.raises(PhiError, match="no server's address; write http://HOST:PORT/v1#NAME"):
            parse(text)

    @pytest.mark.parametrize("text", [f"http://me:{KEY}@host/v1", f"http://host/v1?api_key={KEY}"])
    def test_a_key_in_it_is_refused_and_not_repeated(self, text):
        with pytest.raises(PhiError, match="PHI_MAGIC_API_KEY") as error:
            parse(text)
        assert KEY not in str(error.value)


class TestAnswers:
    def test_text_counts_and_record(self, phi, server):
        reply = phi("Hi")
        assert (reply.text, reply.finish_reason) == ("Hello there", "stop")
        assert (reply.usage.prompt_tokens, reply.usage.cached_tokens, reply.usage.completion_tokens) == (7, 2, 2)
        assert reply.engine["server"] == "vLLM"
        assert reply.engine["server_model"] == "phi-4"
        assert reply.model_sha256 is None
        path, body = server.asked[-1]
        assert path == "/v1/chat/completions"
        assert body["messages"] == [{"role": "user", "content": "Hi"}]

    def test_pieces_come_one_by_one(self, phi):
        assert list(phi.stream("Hi")) == ["Hello", " there"]

    def test_every_parameter_is_sent_off_values_too(self, phi, server):
        phi("Hi", temperature=0, top_k=0, min_p=0, repeat_penalty=1, top_p=1, max_tokens=9, stop=["END"])
        body = server.asked[-1][1]
        assert {name: body[name] for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")} == {
            "temperature": 0,
            "top_p": 1,
            "top_k": 0,
            "min_p": 0,
            "repetition_penalty": 1,
        }
        assert (body["max_tokens"], body["stop"], body["seed"]) == (9, ["END"], 1)

    def test_reasoning_is_no_part_of_the_text(self, phi, server):
        server.replies = [[chunk(reasoning_content="Let me "), chunk(reasoning="see."), *answer("5")]]
        reply = phi("2 + 3?")
        assert (reply.reasoning, reply.text) == ("Let me see.", "5")

    def test_log_probabilities_become_tokens(self, phi, server):
        one = chunk("Hi")
        one["choices"][0]["logprobs"] = {
            "content": [
                {
                    "token": "Hi",
                    "logprob": -0.5,
                    "bytes": [72, 105],
                    "top_logprobs": [{"token": "Ho", "logprob": -0.1}, {"token": "Hi", "logprob": -0.5}],
                }
            ]
        }
        server.replies = [[one, chunk(finish="stop"), "[DONE]"]]
        [token] = phi("Hi", top_logprobs=2).tokens
        assert (token.text, token.logprob, token.rank) == ("Hi", -0.5, 2)
        assert [other.text for other in token.top] == ["Ho", "Hi"]

    def test_an_answer_that_follows_its_schema_is_an_object(self, phi, server):
        server.replies = [answer('{"age"', ": 5}")]
        assert phi("Age?", schema=SCHEMA).data == {"age": 5}
        assert server.asked[-1][1]["response_format"]["json_schema"]["schema"] == SCHEMA

    @pytest.mark.parametrize("text", ['{"age": "five"}', "I am five.", '{"age": 5, "more": 1}'])
    def test_one_that_does_not_is_said(self, phi, server, text):
        server.replies = [answer(text)]
        reply = phi("Age?", schema=SCHEMA)
        assert reply.data is None
        assert reply.error.startswith(("the answer breaks its schema", "the answer is not JSON"))
        assert reply.text == text

    def test_it_is_cut_where_the_server_says_so(self, phi, server):
        server.replies = [answer("Hello", finish="length")]
        assert phi("Hi").finish_reason == "length"


class TestKinds:
    @pytest.mark.parametrize("dialect", ["vLLM", "Ollama", "LM Studio", "unknown"])
    def test_found_by_asking(self, dialect):
        server, phi = served(dialect)
        with server:
            assert dialect in phi("Hi").engine["server"]

    @pytest.mark.parametrize(
        ("dialect", "options", "says"),
        [
            ("Ollama", {"top_k": 40}, "Ollama's /v1 ignores top_k: leave it at 0"),
            ("Ollama", {"min_p": 0.1}, "ignores min_p"),
            ("Ollama", {"repeat_penalty": 1.3}, "ignores repeat_penalty"),
            ("Ollama", {"raw": True}, "always uses its chat template"),
            ("LM Studio", {"top_logprobs": 2}, "gives no log-probabilities"),
            ("vLLM", {"repeat_last_n": 10}, "vLLM ignores repeat_last_n"),
            ("vLLM", {"begin": [5]}, "takes no token ids"),
            ("vLLM", {"choices": ["a", "b"]}, "choices and score need a model on this machine"),
        ],
    )
    def test_what_it_would_ignore_is_refused_by_name(self, dialect, options, says):
        server, phi = served(dialect)
        with server, pytest.raises(PhiError, match=says):
            phi("Hi", **options)
        assert server.asked == []

    def test_which_model_is_asked(self):
        server, phi = served("vLLM", models=["phi-4", "phi-3"])
        with server:
            with pytest.raises(PhiError, match=r"which model\? there are phi-4, phi-3; write http://.*#NAME"):
                phi("Hi")
            with pytest.raises(PhiError, match="no model phi-5; did you mean phi-4"):
                phi("Hi", model=f"{server.url}#phi-5")
            phi("Hi", model=f"{server.url}#phi-3")
            assert server.asked[-1][1]["model"] == "phi-3"


class TestKey:
    def test_it_goes_to_that_server_and_nowhere_else(self, phi, server, monkeypatch):
        monkeypatch.setenv(client.KEY, KEY)
        reply = phi("Hi")
        assert set(server.keys) == {f"Bearer {KEY}"}
        assert KEY not in json.dumps(reply.to_dict())
        assert KEY not in repr(phi.traits())

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

    @pytest.mark.parametrize("said", [{"data": 5}, [1], "text", {"data": [{"no": "id"}]}])
    def test_a_list_of_models_that_is_none(self, said):
        server, phi = served("unknown")
        server.paths["/v1/models"] = said
        with server, pytest.raises(PhiError, match="its list of models is none; is the address right"):
            phi("Hi")


def test_429_is_asked_again(phi, server):
    server.replies = [(429, {"Retry-After": "0"}, {"error": "busy"}), (503, {"Retry-After": "0"}, {}), answer("Hello")]
    told = []
    stream = phi.stream("Hi", on_status=told.append)
    stream.run()
    assert stream.reply.text == "Hello"
    assert "the server answers 429; trying again in 0 s" in told


def test_a_stop_closes_the_connection(phi, server):
    server.replies = [[chunk("Hello"), 0.5, *(one for _ in range(200) for one in (chunk("x"), 0.05))]]
    stream = phi.stream("Hi")
    assert next(stream) == "Hello"
    threading.Timer(0.05, stream.stop).start()
    stream.run()
    assert stream.reply.finish_reason == "interrupted"
    assert stream.reply.text.startswith("Hello")
    assert server.left.wait(5)


class TestMap:
    def test_in_order_with_as_many_in_flight_as_told(self, phi, server):
        def echo(body):
            number = int(body["messages"][-1]["content"])
            time.sleep(0.05 * (number % 3))
            return answer(f"answer {number}")

        server.replies = [echo]
        replies = phi.map([str(number) for number in range(12)], in_flight=4, progress=False)
        assert [reply.text for reply in replies] == [f"answer {number}" for number in range(12)]
        assert server.most_at_once == 4

    def test_an_error_may_stay_in_its_row(self, phi, server, monkeypatch):
        monkeypatch.setattr(client, "PATIENCE", 0)
        server.replies = [lambda body: answer("yes") if body["messages"][-1]["content"] != "1" else (500, {}, {})]
        replies = phi.map(["0", "1", "2"], on_error="keep", progress=False)
        assert [reply.finish_reason for reply in replies] == ["stop", "error", "stop"]
        assert "answers 500" in replies[1].error

    def test_a_server_and_this_machine_are_not_mixed(self, phi):
        with pytest.raises(PhiError, match="ask them apart"):
            phi.sweep("Hi", model=["demo", phi.model], progress=False)


class TestCells:
    @pytest.fixture
    def ip(self, shell):
        shell.run_line_magic("load_ext", "phi_magic")
        return shell

    def test_a_cell_asks_it(self, ip, server):
        ip.run_cell_magic("phi", f"-m {server.url} -o answer", "Hi")
        assert ip.user_ns["answer"].text == "Hello there"

    def test_a_conversation_goes_on(self, ip, server):
        for question in ("Hi", "Again"):
            ip.run_cell_magic("phi", f"-m {server.url} -c trip", question)
        assert [message["content"] for message in server.asked[-1][1]["messages"]] == ["Hi", "Hello there", "Again"]

    def test_its_models_are_listed(self, ip, server):
        ip.run_line_magic("phi_models", f"list {server.url}")
        shown = ip.display_pub.outputs[-1]["data"]["text/plain"]
        assert "phi-4" in shown
        assert "vLLM 0.33.0" in shown
        ip.run_line_magic("phi_models", f"info {server.url}#phi-4")
        assert "vLLM" in ip.display_pub.outputs[-1]["data"]["text/plain"]

    def test_a_mistake_is_one_line(self, ip, server):
        with pytest.raises(UsageError, match="no model nosuch"):
            ip.run_cell_magic("phi", f"-m {server.url}#nosuch", "Hi")


def test_replay_asks_again_and_promises_nothing(phi, server):
    reply = phi("Hi")
    outcome = replay(Phi(), Recorded.of(reply, "here"))
    assert outcome.same
    assert "a server's answer: not promised" in outcome.notes
    server.replies = [answer("Good day")]
    assert "differs" in str(replay(Phi(), Recorded.of(reply, "here")))
