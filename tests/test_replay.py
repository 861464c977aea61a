"""Answers run again: the same, or the first difference; and whatever else a record may say."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError

from phi_magic import Phi, PhiError
from phi_magic.__main__ import main
from phi_magic.engine.engine import Engine
from phi_magic.generation import request
from phi_magic.recorded import Recorded, recorded_in
from phi_magic.replay import difference, replay
from tests.architectures import ARCHITECTURES, TEMPLATE, write
from tests.notebooks import notebook_of

HAIKU = "Write a haiku about the sea"


@pytest.fixture
def phi():
    return Phi(model="demo", max_tokens=20)


def saved(path, *answers):
    """A notebook whose cells' outputs are the answers, as front ends save them."""
    notebook = notebook_of(*("%%phi" for _ in answers))
    for cell, (record, text) in zip(notebook.cells, answers, strict=True):
        lines = text.splitlines(keepends=True)
        output = {"output_type": "display_data", "metadata": {"phi_magic": record}, "data": {"text/plain": lines}}
        cell["outputs"] = [output]
    path.write_text(json.dumps(notebook))
    return path


def again(record, text, phi=None, *, exact=True):
    return replay(phi or Phi(), Recorded("here", json.loads(json.dumps(record)), text, exact))


class TestSame:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"seed": 5, "temperature": 1.5},
            {"temperature": 0},
            {"system": "Be brief.", "stop": ["\n"]},
            {"top_k": 3, "min_p": 0.1, "repeat_penalty": 1.5, "n_ctx": 256},
            {"raw": True},
            {"begin": [40, 41]},
        ],
    )
    def test_an_answer_is_the_same_whatever_is_set_now(self, phi, options):
        reply = phi(HAIKU, **options)
        phi("Something else")
        other = Phi(temperature=0.1, system="Shout.", stop=["a"], max_tokens=1, seed=1)
        assert again(reply.to_dict(), reply.text, other).same

    def test_a_conversation_is_sent_again(self, phi):
        talk = [
            {"role": "system", "content": "Rhyme."},
            {"role": "user", "content": HAIKU},
            {"role": "assistant", "content": "Waves"},
            {"role": "user", "content": "Now about ice"},
        ]
        reply = phi(talk)
        assert again(reply.to_dict(), reply.text).reply.to_dict()["messages"] == talk[1:3]
        assert again(reply.to_dict(), reply.text).same

    def test_an_interrupted_answer_is_the_same_as_far_as_it_came(self, phi):
        phi.backend = engine = Engine()  # in this process it writes no further than it is read
        stream = phi.stream(HAIKU, temperature=0)
        begun = "".join(next(stream) for _ in range(4))
        stream.stop()
        assert list(stream) == []
        engine.unload()
        assert stream.reply.text == begun
        assert stream.reply.finish_reason == "interrupted"
        assert again(stream.reply.to_dict(), stream.reply.text).same

    @pytest.mark.parametrize("together", [False, True])
    def test_an_interrupted_answer_in_a_conversation_longer_than_the_context_is_the_same(self, phi, together):
        turns = [("user", HAIKU), ("assistant", "Waves come and go, and the tide is in no hurry")] * 9
        talk = [{"role": role, "content": text} for role, text in [*turns, ("user", "Now about ice")]]
        phi.backend = Engine()
        whole = phi(talk, n_ctx=256, max_tokens=100, temperature=3)
        assert whole.left_out != phi(talk, n_ctx=256, max_tokens=5).left_out  # the answer's room decides
        for length in (1, 5, 11):
            stream = phi.stream_all([(talk, {"n_ctx": 256, "max_tokens": 100, "temperature": 3})])
            stream = stream if together else phi.stream(talk, n_ctx=256, max_tokens=100, temperature=3)
            [reply] = stream.replies if together else [stream.reply]
            with stream.in_order():
                for _ in stream:
                    if len(reply.tokens) >= length:
                        stream.stop()
            assert (reply.finish_reason, reply.left_out) == ("interrupted", whole.left_out)
            outcome = again(reply.to_dict(), reply.text)
            assert outcome.same
            assert outcome.reply.left_out == reply.left_out
            assert outcome.reply.engine == reply.engine
            assert [token.id for token in outcome.reply.tokens] == [token.id for token in reply.tokens]

    @pytest.mark.parametrize("together", [False, True])
    def test_an_answer_whose_prompt_has_the_date_is_the_same_tomorrow(self, phi, tmp_path, monkeypatch, together):
        path = str(tmp_path / "dated.gguf")
        write(path, ARCHITECTURES["phi3"], template="{{ strftime_now('%d %B %Y') }}" + TEMPLATE)
        phi.backend = Engine()

        def ask():
            options = {"model": path, "seed": 1}
            return phi.map([HAIKU], progress=False, **options)[0] if together else phi(HAIKU, **options)

        class Tomorrow(datetime):
            @classmethod
            def now(cls, tz=None):
                return datetime.now(tz) + timedelta(days=1)

        reply = ask()
        monkeypatch.setattr(request, "datetime", Tomorrow)
        assert ask().tokens != reply.tokens  # the date is a part of the prompt
        outcome = again(reply.to_dict(), reply.text, phi)
        assert outcome.same
        assert outcome.reply.engine["now"] == reply.engine["now"]
        assert outcome.reply.tokens == reply.tokens

    def test_an_answer_whose_worker_was_killed_may_lack_the_text_that_was_held_back(self, phi):
        whole = phi(HAIKU, temperature=0)
        text = "".join(token.text for token in whole.tokens[:6]).lstrip()
        reply = phi(HAIKU, temperature=0, stop=[f"{text[-3:]}, and so it never goes on"])
        record = reply.to_dict() | {"finish_reason": "interrupted", "usage": {"completion_tokens": 6}}
        assert again(record, text).same
        assert again(record, text[:-3]).same
        assert not again(record, text[:-4]).same
        assert not again(record, text[:-1]).same

    def test_control_characters_are_compared_as_they_are_shown(self, phi):
        reply = phi(HAIKU, temperature=0)
        reply.text = "\x1b" + reply.text
        outcome = again(reply.to_dict(), "␛" + reply.text[1:], exact=False)
        assert "character 1 on" in outcome.difference

    @pytest.mark.parametrize("form", ["markdown", "text", "code", "json", "html", "math", "tokens"])
    def test_an_output_is_the_same_in_whatever_format_it_was_shown(self, phi, form):
        from phi_magic.rendering import formats, token_shading

        reply = phi("Give me a JSON object with a name and an age", seed=1, max_tokens=40)
        shown = token_shading.bundle(reply.tokens) if form == "tokens" else formats.bundle(reply.text, form)
        assert again(reply.record(), shown["text/plain"], exact=False).same

    def test_the_newest_answer_stays_the_one_that_was_asked_for(self, phi):
        reply = phi(HAIKU)
        again(reply.to_dict(), reply.text, phi)
        assert phi.last is reply


class TestDifferent:
    def test_the_first_difference_is_shown_with_both_sides(self):
        assert not difference("abc", "abc")
        assert difference("ice\nsnow", "ice\nrain") == "differs from character 5 on: was 'ice\\nsnow', is 'ice\\nrain'"
        assert "character 4 on: was 'ice', is 'ice and'" in difference("ice", "ice and")
        assert len(difference("a" * 5000, "a" * 4000 + "b" * 1000)) < 250

    def test_an_edited_answer_differs(self, phi):
        reply = phi(HAIKU, temperature=0)
        outcome = again(reply.to_dict(), reply.text + "!")
        assert f"character {len(reply.text) + 1} on" in outcome.difference
        assert not outcome.same

    def test_another_file_under_the_model_s_name_is_named(self, phi):
        reply = phi(HAIKU)
        [note] = again(reply.to_dict() | {"model_sha256": "0" * 64}, reply.text).notes
        assert note.startswith("the file of demo has changed: SHA-256 was 000000000000…, is ")

    def test_another_version_is_named(self, phi):
        reply = phi(HAIKU)
        [note] = again(reply.to_dict() | {"version": "0.0.1"}, reply.text).notes
        assert note.startswith("recorded by phi_magic 0.0.1; this is ")

    def test_another_plan_is_named_and_followed(self, phi):
        reply = phi(HAIKU)
        engine = {**reply.engine, "flash_attention": not reply.engine["flash_attention"], "n_threads": 99}
        outcome = again(reply.to_dict() | {"engine": engine}, reply.text)
        assert "flash_attention" in outcome.notes[0]
        assert outcome.reply.engine["flash_attention"] is engine["flash_attention"]
        assert outcome.reply.engine["n_threads"] == reply.engine["n_threads"]

    def test_a_missing_model_is_named_and_not_downloaded(self, phi):
        reply = phi(HAIKU)
        outcome = again(reply.to_dict() | {"model": "owner/repo/file.gguf"}, reply.text)
        assert "%phi_models pull owner/repo/file.gguf" in outcome.failure


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"prompt": None}, "prompt has the wrong type: expected a text, got None"),
        ({"seed": "1"}, "seed has the wrong type"),
        ({"seed": True}, "seed has the wrong type: expected a whole number, got True or False"),
        ({"choices": 5}, "choices has the wrong type"),
        ({"model": "/dev/zero"}, "/dev/zero: is no ordinary file"),
        ({"finish_reason": "\ud800"}, "surrogates not allowed"),
        ({"finish_reason": "bored"}, "finish_reason has the wrong type: Invalid enum value 'bored'"),
        ({"finish_reason": ["stop"]}, "finish_reason has the wrong type"),
        ({"params": {"raw": "yes"}}, "raw must be True or False"),
        ({"params": {"given": 5}}, "given must be a text"),
        ({"params": {"choices": 5}}, "choices must be a list"),
        ({"params": {"schema": 5}}, "a schema is"),
        ({"params": {"begin": [True]}}, "begin must be a list of token ids"),
        ({"params": {"begin": [2**70]}}, "begin must be a list of token ids"),
        ({"engine": {"now": 5}}, "now must be a text"),
        ({"engine": {"now": "yesterday"}}, "now must be a date"),
        ({"engine": {"key_type": ["f16"]}}, "key_type is ['f16']"),
        ({"seed": -1}, "seed must be"),
        ({"params": {"temperature": "hot"}}, "temperature must be"),
        ({"params": {"future": 1}}, "future, which this version does not know"),
        ({"params": {"begin": [10**9]}}, "outside of the vocabulary"),
        ({"params": {"begin": "x"}}, "begin must be a list of token ids"),
        ({"params": {"stop": [1]}}, "stop must be"),
        ({"messages": [{"role": "user"}]}, "missing required field content"),
        ({"engine": {"key_type": "count"}}, "key_type"),
        ({"engine": {"n_gpu_layers": "all"}}, "n_gpu_layers"),
        ({"model": "nope"}, "unknown model"),
        ({"finish_reason": "interrupted", "usage": {"completion_tokens": 0}}, "before its first token"),
        (
            {"finish_reason": "interrupted", "usage": {"completion_tokens": "9"}},
            "usage.completion_tokens has the wrong type",
        ),
    ],
)
def test_a_record_that_nobody_can_run_again_is_named(phi, change, says):
    reply = phi(HAIKU, max_tokens=1)
    outcome = again({**reply.to_dict(), **change}, reply.text)
    assert says in outcome.failure
    assert "\n" not in outcome.failure
    assert not outcome.same


class TestNotebook:
    def test_every_answer_is_found(self, phi, tmp_path):
        replies = [phi(HAIKU, seed=seed) for seed in range(3)]
        path = saved(tmp_path / "a.ipynb", *((reply.record(), reply.text) for reply in replies))
        found = recorded_in(path)
        assert [answer.where for answer in found] == ["cell 1", "cell 2", "cell 3"]
        assert all(replay(Phi(), answer).same for answer in found)

    def test_a_sweep_s_answers_are_found_each(self, phi, tmp_path):
        replies = [phi(HAIKU, seed=seed).to_dict() for seed in range(2)]
        path = saved(tmp_path / "a.ipynb", ({"replies": replies}, "a table"))
        assert [answer.where for answer in recorded_in(path)] == ["cell 1, answer 1", "cell 1, answer 2"]
        assert all(replay(Phi(), answer).same for answer in recorded_in(path))

    @pytest.mark.parametrize(
        "content", ["", "[]", "{}", "nul", '{"cells": 1}', '{"cells": [1]}', "[" * 100_000, '{"worksheets": []}', "\0"]
    )
    def test_what_is_no_notebook_is_refused(self, tmp_path, content):
        (path := tmp_path / "a.ipynb").write_text(content)
        with pytest.raises(PhiError, match="is no notebook"):
            recorded_in(path)

    def test_one_without_answers_is_refused(self, tmp_path):
        with pytest.raises(PhiError, match="no answer is recorded"):
            recorded_in(saved(tmp_path / "a.ipynb"))


class TestTerminal:
    def test_the_exit_status_tells_whether_all_are_the_same(self, phi, tmp_path, capsys):
        reply = phi(HAIKU, temperature=0)
        path = saved(tmp_path / "a.ipynb", (reply.record(), reply.text))
        assert main(["replay", str(path)]) == 0
        assert capsys.readouterr().out == "cell 1: same\n1 answer: 1 the same\n"
        saved(path, (reply.record(), reply.text), (reply.record(), "no"), (reply.record() | {"model": "nope"}, ""))
        assert main(["replay", str(path)]) == 1
        assert capsys.readouterr().out.endswith("3 answers: 1 the same, 1 different, 1 not run again\n")

    def test_a_missing_model_is_named_with_what_to_do_and_the_others_are_run(self, phi, tmp_path, capsys):
        record, text = (reply := phi(HAIKU)).record(), reply.text
        path = saved(tmp_path / "a.ipynb", (record | {"model": "owner/repo/file.gguf"}, text), (record, text))
        assert main(["replay", str(path)]) == 1
        told, same, counted = capsys.readouterr().out.splitlines()
        assert "cannot be run again: owner/repo/file.gguf is not in the cache" in told
        assert "python -m phi_magic -m owner/repo/file.gguf" in told
        assert same.endswith("same")
        assert counted == "2 answers: 1 the same, 1 not run again"

    def test_a_missing_notebook_is_a_mistake(self, capsys):
        assert main(["replay", "nope.ipynb"]) == 2
        assert "nope.ipynb: cannot be read: No such file" in capsys.readouterr().err


class TestMagic:
    @pytest.fixture
    def ip(self, shell):
        shell.run_line_magic("load_ext", "phi_magic")
        shell.run_line_magic("config", "Phi.model = 'demo'")
        shell.run_line_magic("config", "Phi.max_tokens = 9")
        return shell

    def shown(self, ip, line):
        ip.display_pub.outputs.clear()
        ip.run_line_magic("phi_replay", line)
        return ip.display_pub.outputs[-1]["data"]["text/plain"]

    def test_the_newest_answer_a_variable_a_list(self, ip):
        for name in "ab":
            ip.run_cell_magic("phi", f"-q -o {name}", HAIKU)
        ip.user_ns["both"] = [ip.user_ns["a"], ip.user_ns["b"]]
        assert "1 answer: 1 the same" in self.shown(ip, "")
        assert "1 answer: 1 the same" in self.shown(ip, "a")
        assert "2 answers: 2 the same" in self.shown(ip, "both")
        ip.user_ns["a"].text += "!"
        assert "1 answer: 1 different" in self.shown(ip, "a")

    def test_a_notebook(self, ip, tmp_path):
        ip.run_cell_magic("phi", "-q -o a", HAIKU)
        path = saved(tmp_path / "my notes.ipynb", (ip.user_ns["a"].record(), ip.user_ns["a"].text))
        assert "1 answer: 1 the same" in self.shown(ip, f'"{path}"')

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            ("", "nothing was asked yet"),
            ("anwser", "did you mean answer?"),
            ("number", "number is no Reply"),
            ("a b", "name of a variable"),
            ("nope.ipynb", "cannot be read"),
        ],
    )
    def test_a_mistake_is_one_line(self, ip, line, says):
        ip.user_ns["number"] = 5
        ip.user_ns["answer"] = Phi(model="demo")("x", max_tokens=1)
        with pytest.raises(UsageError, match=says):
            ip.run_line_magic("phi_replay", line)

    def test_tab_completes_replies_and_notebooks(self, ip):
        ip.user_ns["answer"] = Phi(model="demo")("x", max_tokens=1)
        Path("answers.ipynb").touch()
        with provisionalcompleter():
            offered = {completion.text for completion in ip.Completer.completions("%phi_replay ans", 15)}
        assert offered >= {"answer", "answers.ipynb"}
