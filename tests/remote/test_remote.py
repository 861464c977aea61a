"""Asking an OpenAI-compatible server."""

import threading
import time

import pytest
from IPython.core.error import UsageError

from phi_magic import Phi, PhiError
from phi_magic.recorded import Recorded
from phi_magic.remote import client
from phi_magic.remote.address import parse
from phi_magic.replay import replay
from tests.openai_server import answer, chunk

SCHEMA = {
    "type": "object",
    "properties": {"age": {"type": "integer"}},
    "required": ["age"],
    "additionalProperties": False,
}
KEY = "sk-secret-5"


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

    def test_reasoning_is_no_part_of_the_text(self, phi, server):
        server.replies = [[chunk(reasoning_content="Let me "), chunk(reasoning="see."), *answer("5")]]
        reply = phi("2 + 3?")
        assert (reply.reasoning, reply.text) == ("Let me see.", "5")

    @pytest.mark.parametrize(
        "cut", [("<think>Let me see.</think>5",), ("<th", "ink>\nLet me", " see.</thi", "nk>\n\n5")]
    )
    def test_thoughts_within_the_text_are_none_of_it(self, phi, server, cut):
        server.replies = [answer(*cut)]
        reply = phi("2 + 3?")
        assert (reply.reasoning.strip(), reply.text) == ("Let me see.", "5")
        assert reply.usage.reasoning_tokens > 0

    def test_nothing_is_held_back_at_the_end(self, phi, server):
        server.replies = [answer("a", " <", finish="length"), answer("<thi")]
        assert [phi("Hi").text, phi("Hi").text] == ["a <", "<thi"]

    @pytest.mark.parametrize("reason", ["content_filter", "abort"])
    def test_one_that_the_server_ends_early_is_an_error_and_stays(self, phi, server, reason):
        server.replies = [answer("Hello", finish=reason)]
        with pytest.raises(PhiError, match=f"ended the answer before its end: {reason}"):
            phi("Hi")
        assert (phi.last.text, phi.last.finish_reason) == ("Hello", "interrupted")

    def test_its_record_promises_nothing(self, phi):
        assert phi("Hi").params["exact"] is False

    def test_log_probabilities_that_were_asked_for_and_did_not_come_are_said(self, phi):
        assert phi("Hi", top_logprobs=2).error == "vLLM gave no log-probabilities"

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
    @pytest.mark.parametrize("dialect", ["vLLM", "Ollama", "LM Studio", "llama-server", "unknown"])
    def test_found_by_asking(self, dialect, served):
        _, phi = served(dialect)
        assert dialect in phi("Hi").engine["server"]

    @pytest.mark.parametrize(("version", "refused"), [("0.12.10", True), ("0.12.11", False), ("0.13.0-rc1", False)])
    def test_ollama_gives_log_probabilities_from_a_version_on(self, version, refused, served):
        server, phi = served("Ollama")
        server.paths["/api/version"] = {"version": version}
        if refused:
            with pytest.raises(PhiError, match=r"from version 0\.12\.11 on, and this is 0\.12\.10: bring it up"):
                phi("Hi", top_logprobs=2)
        else:
            assert phi("Hi", top_logprobs=2).error == "Ollama's /v1 gave no log-probabilities"

    @pytest.mark.parametrize(
        ("dialect", "options", "says"),
        [
            ("Ollama", {"top_k": 40}, r"Ollama's /v1 ignores top_k: set it to 0 \(off\)"),
            ("Ollama", {"min_p": 0.1}, "ignores min_p"),
            ("Ollama", {"repeat_penalty": 1.3}, r"ignores repeat_penalty: set it to 1 \(off\)"),
            ("Ollama", {"raw": True}, "always uses its chat template"),
            ("LM Studio", {"top_logprobs": 2}, "gives no log-probabilities"),
            ("vLLM", {"repeat_last_n": 10}, "vLLM ignores repeat_last_n"),
            ("vLLM", {"begin": [5]}, "takes no token ids"),
            ("Ollama", {"choices": ["a", "b"]}, "does not tell how likely a given text is"),
            ("vLLM", {"max_reasoning": 10}, "vLLM cannot end thoughts: leave max_reasoning at 4096"),
            ("llama-server", {"begin": [5], "schema": SCHEMA}, "leave out --schema to branch"),
        ],
    )
    def test_what_it_would_ignore_is_refused_by_name(self, dialect, options, says, served):
        server, phi = served(dialect)
        with pytest.raises(PhiError, match=says):
            phi("Hi", **options)
        assert server.asked == []

    @pytest.mark.parametrize(
        ("dialect", "sent"),
        [
            ("llama-server", {"top_k": 0, "min_p": 0, "repeat_penalty": 1, "repeat_last_n": 0}),
            ("vLLM", {"top_k": 0, "min_p": 0, "repetition_penalty": 1}),
            ("Ollama", {"top_k": 0, "min_p": 0, "repeat_penalty": 1, "repeat_last_n": 0}),
            ("LM Studio", {"top_k": 0, "min_p": 0, "repeat_penalty": 1, "repeat_last_n": 0}),
            ("unknown", {}),
        ],
    )
    def test_every_parameter_is_sent_off_values_too(self, dialect, sent, served):
        server, phi = served(dialect)
        off = {"top_k": 0, "min_p": 0, "repeat_penalty": 1, "repeat_last_n": 0, "top_p": 1}
        phi("Hi", temperature=0, max_tokens=9, stop=["END"], **off)
        body = server.asked[-1][1]
        known = {"temperature": 0, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0, "seed": 1}
        assert {name: body[name] for name in {**known, **sent}} == {**known, **sent}
        assert {*off, "repetition_penalty"} & body.keys() == {"top_p", *sent}
        assert (body["max_tokens"], body["stop"]) == (9, ["END"])

    def test_which_model_is_asked(self, served):
        server, phi = served("vLLM", models=["phi-4", "phi-3"])
        with pytest.raises(PhiError, match=r"which model\? there are phi-4, phi-3; write http://.*#NAME"):
            phi("Hi")
        with pytest.raises(PhiError, match="no model phi-5; did you mean phi-4"):
            phi("Hi", model=f"{server.url}#phi-5")
        phi("Hi", model=f"{server.url}#phi-3")
        assert server.asked[-1][1]["model"] == "phi-3"


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
    def test_in_order_with_as_many_in_flight_as_set(self, phi, server):
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
