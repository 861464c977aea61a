"""Every magic, the panel and the terminal, with a model on a server: one option changes, and all else works alike."""

import json
import subprocess
import sys

import pytest
from IPython.core.error import UsageError

from phi_magic import Phi, PhiError
from phi_magic.recorded import Recorded
from phi_magic.replay import replay
from phi_magic.widgets.panel import Panel
from tests.openai_server import answer, chunk

FIXED = "The name was wrong.\n\n```python\nprint(total)\n```"


@pytest.fixture
def ip(shell, monkeypatch, server):
    monkeypatch.setattr(shell, "kernel", None, raising=False)  # cells are shown as a notebook shows them
    shell.run_line_magic("load_ext", "phi_magic")
    shell.run_line_magic("config", f"Phi.model = {server.url!r}")
    return shell


def shown(ip):
    """What the cells show, as text: each output as it was left."""
    left = {}
    for number, output in enumerate(ip.display_pub.outputs):
        left[(output["transient"] or {}).get("display_id", number)] = output["data"].get("text/plain", "")
    return list(left.values())


def asked(server):
    return [body["messages"][-1]["content"] for _, body in server.asked]


def with_logprobs(text):
    piece = chunk(text)
    piece["choices"][0]["logprobs"] = {
        "content": [{"token": text, "logprob": -0.5, "top_logprobs": [{"token": text, "logprob": -0.5}]}]
    }
    return piece


def test_variables_are_filled_in(ip, server):
    ip.user_ns["topic"] = "snow"
    ip.run_cell_magic("phi", "", "About {{ topic }}")
    assert asked(server) == ["About snow"]


@pytest.mark.parametrize(
    ("form", "text", "mime", "says"),
    [
        ("markdown", "**Hi**", "text/markdown", "**Hi**"),
        ("text", "Hi", "text/plain", "Hi"),
        ("code", "So:\n```python\n1 + 1\n```", "text/plain", "1 + 1"),
        ("json", '{"a": 5}', "text/markdown", '"a": 5'),
        ("html", "<b>Hi</b><script>x</script>", "text/html", "<b>Hi</b>"),
        ("math", "$x^2$", "text/latex", "x^2"),
    ],
)
def test_formats(ip, server, form, text, mime, says):
    server.replies = [answer(*text)]
    ip.run_cell_magic("phi", f"-f {form} -o reply", "Hi")
    data = [output["data"] for output in ip.display_pub.outputs if mime in output["data"]]
    assert any(says in one[mime] for one in data)
    assert ip.user_ns["reply"].text == text


def test_every_token_is_shaded(ip, server):
    server.replies = [[with_logprobs("Hello"), with_logprobs(" there"), *answer()]]
    ip.run_cell_magic("phi", "-f tokens -o reply", "Hi")
    assert [token.text for token in ip.user_ns["reply"].tokens] == ["Hello", " there"]
    assert any(output["data"].get("text/html", "").count("<ruby") == 2 for output in ip.display_pub.outputs)


def test_an_output_of_shaded_tokens_is_replayed_by_its_text(ip, server, phi):
    server.replies = [[with_logprobs("Hel\nlo"), with_logprobs(" there"), *answer()]]
    ip.run_cell_magic("phi", "-f tokens -o reply", "Hi")
    [shaded] = [one for one in shown(ip) if "⟨61⟩" in one]
    recorded = Recorded("cell 1", ip.user_ns["reply"].record(), shaded, exact=False)
    server.replies = [answer("Hel\nlo", " there")]
    assert replay(phi, recorded).same
    server.replies = [answer("Hel\nlo", " you")]
    assert "was 'Hel↵lo␣there', is 'Hel↵lo␣you'" in replay(phi, recorded).difference


def test_where_there_are_no_tokens_the_text_is_shown_and_one_line_says_why(ip):
    ip.run_cell_magic("phi", "-f tokens", "Hi")
    assert [one for one in shown(ip) if "tokens/s" not in one] == ["Hello there", "vLLM gave no log-probabilities"]


def test_a_view_of_tokens_that_were_not_told_is_refused(ip):
    ip.run_cell_magic("phi", "-o reply", "Hi")
    with pytest.raises(PhiError, match="has no records of its tokens: ask a server with top_logprobs=1"):
        ip.user_ns["reply"].show_tokens()


@pytest.mark.parametrize("action", ["pull", "rm"])
def test_a_servers_models_are_neither_downloaded_nor_removed(ip, server, action):
    with pytest.raises(UsageError, match=f"%phi_models {action} is for this machine"):
        ip.run_line_magic("phi_models", f"{action} {server.url}#phi-4")


def test_the_panel(server, phi):
    panel = Panel(phi, "Hi")
    panel.ask()
    panel.wait()
    assert phi.last.text == "Hello there"
    assert asked(server) == ["Hi"]
    panel.end()


def test_a_sweep(ip, server):
    ip.run_cell_magic("phi_sweep", "temperature=0,0.5 seed=1,2 -o grid", "Hi")
    sent = [(body["temperature"], body["seed"]) for _, body in server.asked]
    assert sorted(sent) == [(0, 1), (0, 2), (0.5, 1), (0.5, 2)]
    assert list(ip.user_ns["grid"]["text"]) == ["Hello there"] * 4


def test_a_map_with_a_cache_asks_once(ip, server, tmp_path):
    ip.user_ns["rows"] = [{"topic": topic} for topic in ("snow", "rain", "snow")]
    for _ in range(2):
        ip.run_cell_magic("phi_map", f"rows --seed 1 --cache {tmp_path / 'answers.sqlite'} -o out", "About {{ topic }}")
    assert sorted(set(asked(server))) == ["About rain", "About snow"]
    assert len(server.asked) <= 3
    assert [reply.text for reply in ip.user_ns["out"]] == ["Hello there"] * 3
    assert all(reply.from_cache and reply.model_sha256 is None for reply in ip.user_ns["out"])


def test_a_failed_cell_is_fixed(ip, server, capsys):
    server.replies = [answer(FIXED)]
    ip.run_cell("total = 3\nprint(totl)", store_history=True)
    capsys.readouterr()
    ip.run_line_magic("phi_fix", "-o reply")
    assert "print(totl)" in asked(server)[-1]
    assert ip.user_ns["reply"].text == FIXED


def test_a_question_that_is_too_long_for_the_server_is_cut(ip, server, capsys):
    excess = {"message": "too long", "type": "exceed_context_size_error", "n_prompt_tokens": 4000, "n_ctx": 2000}
    server.replies = [(400, {}, {"error": excess}), answer(FIXED)]
    ip.run_cell("total = 3\n" + "print('on and on')\n" * 500 + "print(totl)", store_history=True)
    capsys.readouterr()
    ip.run_line_magic("phi_fix", "")
    long, short = map(len, asked(server))
    assert short < 0.5 * long
    assert any("the question was cut" in text for text in shown(ip))


def test_the_terminal(server):
    done = subprocess.run(
        [sys.executable, "-m", "phi_magic", "-m", server.url, "--seed", "1", "Hi"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello there\n", "")


def test_loading_says_what_it_found(ip, server, capsys):
    ip.run_line_magic("phi_models", f"load {server.url}#phi-4")
    assert capsys.readouterr().out == f"{server.url}#phi-4: the server is there and has the model\n"


def test_an_answer_is_a_record_of_plain_json(server, phi):
    record = json.loads(json.dumps(phi("Hi", repeat_last_n=0, repeat_penalty=1).to_dict()))
    assert record["engine"] == {"server": "vLLM", "version": "0.33.0", "server_model": "phi-4"}
    assert record["model_sha256"] is None


def test_settings_of_one_cell_change_no_other(ip, server):
    ip.run_cell_magic("phi", "-t 0.1 --seed 5", "Hi")
    ip.run_cell_magic("phi", "", "Hi")
    assert [body["temperature"] for _, body in server.asked] == [0.1, Phi().temperature]
