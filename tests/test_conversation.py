"""Conversations: what is sent, what is kept, and what a cell that runs again does."""

from __future__ import annotations

import copy
import gc
import json
import os
import pickle
import re
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError

from phi_magic import Phi, conversation
from phi_magic.conversation import Conversation, forget, names
from phi_magic.errors import PhiError
from phi_magic.generation.backend import ignore_status
from phi_magic.generation.stream import Question, Stream
from phi_magic.reply import Reply
from tests.fake_backend import FakeBackend


@pytest.fixture(autouse=True)
def no_conversations():
    forget()
    yield
    forget()


class Model:
    """Answers with the texts that were put in its queue, and keeps what it was sent."""

    def __init__(self):
        self.queue = []
        self.sent = []

    def __call__(self, messages, *, system=None, finish="stop", **options):
        self.sent.append(messages)
        reply = Reply(messages[-1]["content"], "demo", {"system": system or "", **options}, 1)
        reply.messages = messages[:-1]
        answer = self.queue.pop(0) if self.queue else f"answer {len(self.sent)}"
        return Stream(Question(None, reply), FakeBackend(answer, finish=finish), on_status=ignore_status)


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def chat(model):
    return Conversation("trip", model)


def asked(chat):
    return [turn.reply.prompt for turn in chat.turns]


class TestTurns:
    def test_each_question_is_sent_with_what_was_said_before(self, chat, model):
        chat("one")
        reply = chat("two")
        assert model.sent[1] == [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "answer 1"},
            {"role": "user", "content": "two"},
        ]
        assert reply.messages == model.sent[1][:2]
        assert chat.messages[-1] == {"role": "assistant", "content": "answer 2"}
        assert len(chat) == 2

    def test_two_of_a_name_are_the_same_conversation(self, chat, model):
        chat("one")
        assert asked(Conversation("trip", model)) == ["one"]
        assert asked(Conversation("other", model)) == []
        assert names() == ["trip"]

    def test_a_system_message_holds_until_another_is_given(self, chat):
        chat("one", system="Be brief.")
        assert chat("two").params["system"] == "Be brief."
        assert chat("three", system="Rhyme.").params["system"] == "Rhyme."
        assert chat("four").params["system"] == "Rhyme."
        assert chat("five", system="").params["system"] == ""

    def test_an_interrupted_answer_stays_and_the_conversation_goes_on(self, chat, model):
        model.queue = [["half an ", KeyboardInterrupt()]]
        with pytest.raises(KeyboardInterrupt):
            chat("one")
        chat("two")
        assert model.sent[1][1] == {"role": "assistant", "content": "half an "}
        assert chat.turns[0].reply.finish_reason == "interrupted"

    def test_a_turn_without_any_text_is_none(self, chat, model):
        chat("one")
        model.queue = [[PhiError("no such model")], [KeyboardInterrupt()]]
        with pytest.raises(PhiError):
            chat("two")
        with pytest.raises(KeyboardInterrupt):
            chat("three")
        chat("four")
        assert asked(chat) == ["one", "four"]
        assert len(model.sent[-1]) == 3

    def test_answers_that_are_written_at_the_same_time_all_stay(self, chat):
        streams = [chat.stream(prompt) for prompt in ("one", "two", "three")]
        for stream in reversed(streams):
            stream.run()
        assert asked(chat) == ["one", "two", "three"]

    def test_questions_from_threads_all_stay(self, chat):
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(chat, ["one", "two", "three", "four"]))
        assert sorted(asked(chat)) == ["four", "one", "three", "two"]

    def test_memory_grows_with_the_text_and_not_with_its_square(self):
        def kept(turns):
            phi = Phi(model="demo", seed=1)
            phi.backend = FakeBackend(*["some words to keep " * 10] * turns)
            chat = phi.chat("long")
            tracemalloc.start()
            try:
                for turn in range(turns):
                    chat(f"question {turn} of the conversation")
                    phi.backend.requests.clear()
                gc.collect()
                return tracemalloc.get_traced_memory()[0]
            finally:
                tracemalloc.stop()
                chat.reset()

        kept(10)
        assert kept(400) < 5 * kept(100)

    def test_each_reply_keeps_the_messages_that_were_sent_whatever_comes_later(self, chat, model):
        for prompt in ("one", "two", "three"):
            chat(prompt)
        replies = [turn.reply for turn in chat.turns]
        chat.undo()
        chat("another")
        chat("four")
        assert [reply.messages for reply in replies] == [sent[:-1] for sent in model.sent[:3]]
        assert chat.turns[-1].reply.messages == model.sent[-1][:-1]
        assert (
            pickle.loads(pickle.dumps(replies[1])).messages == copy.deepcopy(replies[1]).messages == model.sent[1][:-1]
        )

    def test_an_edited_answer_is_sent_as_it_is_now(self, chat, model):
        first = chat("one")
        chat("two")
        first.text = "edited"
        third = chat("three")
        assert model.sent[2][1] == {"role": "assistant", "content": "edited"}
        assert third.messages == model.sent[2][:-1]
        assert chat.turns[1].reply.messages == model.sent[1][:-1]

    def test_a_question_nobody_reads_the_answer_of_is_forgotten(self, chat):
        for _ in range(3):
            chat.stream("never read")
        chat("one")
        assert [turn.reply.prompt for turn in conversation._turns["trip"]] == ["one"]

    def test_what_was_asked_before_a_reset_does_not_come_back(self, chat):
        stream = chat.stream("one")
        chat.reset()
        stream.run()
        assert asked(chat) == []

    def test_raw_text_knows_no_turns(self, chat):
        with pytest.raises(PhiError, match="raw"):
            chat("one", raw=True)

    def test_undo_drops_the_newest_turn_and_reset_all(self, chat):
        for prompt in ("one", "two", "three"):
            chat(prompt)
        assert chat.undo().reply.prompt == "three"
        assert asked(chat) == ["one", "two"]
        assert chat.reset() == 2
        assert chat.reset() == 0
        with pytest.raises(PhiError, match="no turn to undo"):
            chat.undo()

    @pytest.mark.parametrize("name", ["", "a b", "../up", "a/b", ".hidden", "-c", "x" * 101])
    def test_a_name_is_a_word(self, name, model):
        with pytest.raises(PhiError, match="cannot name a conversation"):
            Conversation(name, model)


class TestCells:
    def ask(self, chat, cell, run, prompt=None):
        for _ in chat.stream(prompt or cell, cell=cell, run=run):
            pass

    def test_a_cell_that_runs_again_replaces_its_turn_and_drops_the_later_ones(self, chat):
        for run, cell in enumerate("abc"):
            self.ask(chat, cell, str(run))
        assert chat.place("b", "4") == 1
        self.ask(chat, "b", "4", "b again")
        assert asked(chat) == ["a", "b again"]
        self.ask(chat, "c", "5")
        assert asked(chat) == ["a", "b again", "c"]

    def test_cells_that_run_out_of_order_stand_in_the_order_in_which_they_ran(self, chat):
        for run, cell in enumerate("acb"):
            self.ask(chat, cell, str(run))
        assert asked(chat) == ["a", "c", "b"]

    def test_a_cell_that_asks_several_times_keeps_all_its_turns(self, chat):
        for prompt in ("1", "2", "3"):
            self.ask(chat, "a", "first", prompt)
        assert asked(chat) == ["1", "2", "3"]
        for prompt in ("4", "5"):
            self.ask(chat, "a", "second", prompt)
        assert asked(chat) == ["4", "5"]

    def test_without_a_cells_id_turns_are_appended(self, chat):
        for run in "12":
            self.ask(chat, None, run, "again")
        assert asked(chat) == ["again", "again"]

    def test_a_question_that_fails_when_asked_again_leaves_no_old_answer_behind(self, chat, model):
        for run, cell in enumerate("ab"):
            self.ask(chat, cell, str(run))
        model.queue = [[PhiError("no")]]
        with pytest.raises(PhiError):
            self.ask(chat, "b", "3")
        assert asked(chat) == ["a"]

    def test_a_turn_that_leaves_is_reported_unless_its_own_cell_asks_again(self, chat):
        left = []

        def ask(cell, run):
            chat.stream(cell, cell=cell, run=run, on_dropped=lambda: left.append(cell)).run()

        for run, cell in enumerate("abb"):
            ask(cell, str(run))
        ask("b", "4")
        assert left == []
        ask("c", "5")
        ask("b", "6")
        assert left == ["c"]
        chat.drop({"b"})
        chat.undo()
        assert left == ["c", "b", "a"]
        ask("d", "7")
        chat.reset()
        assert left == ["c", "b", "a", "d"]

    def test_turns_of_deleted_cells_leave_and_later_ones_stay(self, chat):
        for run, cell in enumerate("abc"):
            self.ask(chat, cell, str(run))
        chat.drop({"b", "x"})
        assert asked(chat) == ["a", "c"]


class TestShowing:
    def test_it_reads_as_markdown(self, chat, model):
        model.queue = ["Oslo.\n", ["Snow and", KeyboardInterrupt()]]
        chat("Where to?", system="Be brief.")
        with pytest.raises(KeyboardInterrupt):
            chat("What is there?")
        assert chat.to_markdown() == (
            "**System:** Be brief.\n\n**1. You:** Where to?\n\n**demo:**\n\nOslo.\n\n"
            "**2. You:** What is there?\n\n**demo:** *(interrupted)*\n\nSnow and"
        )

    def test_nothing_in_it_acts(self, chat, model):
        model.queue = ["<img src=x onerror=alert(1)>"]
        chat("<script>alert(1)</script>")
        shown = chat._repr_mimebundle_()
        assert "<script" not in shown["text/markdown"]
        assert "<img" not in shown["text/markdown"]

    def test_an_empty_one_says_so(self, chat):
        assert "no turns" in chat.to_markdown()


class TestFiles:
    def test_what_was_saved_is_read_back(self, chat, model, tmp_path):
        for _ in chat.stream("one", cell="a", run="1", system="Be brief."):
            pass
        chat("two")
        before = chat.to_markdown()
        file = chat.save(tmp_path / "trip.json")
        other = Conversation("other", model).read(file)
        assert other.to_markdown() == before
        assert other.turns[1].reply.messages == chat.turns[1].reply.messages
        assert other.turns[0].cell == "a"
        assert other.place("a", "2") == 0
        other("three")
        assert len(other) == 3
        assert len(chat) == 2

    def test_saving_again_overwrites_but_a_file_of_somebody_else_stays(self, chat, tmp_path):
        chat("one")
        file = tmp_path / "trip.json"
        chat.save(file)
        chat("two")
        chat.save(file)
        assert len(json.loads(file.read_text())["turns"]) == 2
        mine = tmp_path / "data.json"
        mine.write_text('{"my": "data"}')
        with pytest.raises(PhiError, match="no saved conversation"):
            chat.save(mine)
        assert mine.read_text() == '{"my": "data"}'
        assert sorted(path.name for path in tmp_path.glob("*.json")) == ["data.json", "trip.json"]

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "7",
            "{}",
            '{"phi_magic": "conversation"}',
            '{"phi_magic": "conversation", "turns": [{"cell": null, "reply": 7}]}',
            '{"phi_magic": "conversation", "turns": [{"cell": null, "reply": {"prompt": 7}}]}',
            "[" * 100_000,
            "\x00\xff",
        ],
    )
    def test_what_is_no_conversation_is_refused_in_one_line(self, chat, tmp_path, text):
        chat("one")
        file = tmp_path / "x.json"
        file.write_text(text)
        with pytest.raises(PhiError, match=re.escape(f"{file} is no saved conversation")):
            chat.read(file)
        assert asked(chat) == ["one"]

    @pytest.mark.parametrize(
        "change",
        [
            {"finish_reason": "bored"},
            {"finish_reason": ["stop"]},
            {"engine": []},
            {"left_out": "2"},
            {"usage": {"prompt_tokens": [1], "cached_tokens": 0, "completion_tokens": 1}},
            {"usage": []},
            {"timings": {"total": "soon"}},
            {"params": None},
            {"model_sha256": 7},
            {"choices": {"a": "b"}},
            {"reasoning": 5},
            {"error": 5},
            {"from_cache": 1},
            {"seed": True},
            {"engine": {"now": 5}},
            {"messages": [{"role": "user"}]},
        ],
    )
    def test_a_tampered_turn_is_refused(self, chat, tmp_path, change):
        chat("one")
        file = chat.save(tmp_path / "x.json")
        saved = json.loads(file.read_text())
        saved["turns"][0]["reply"] |= change
        file.write_text(json.dumps(saved))
        with pytest.raises(PhiError, match="is no saved conversation"):
            chat.read(file)
        assert asked(chat) == ["one"]

    def test_a_turn_that_failed_is_shown_as_one(self, chat, tmp_path):
        chat("one")
        file = chat.save(tmp_path / "x.json")
        saved = json.loads(file.read_text())
        saved["turns"][0]["reply"] |= {"finish_reason": "error"}
        file.write_text(json.dumps(saved))
        assert "*(failed)*" in chat.read(file).to_markdown()

    @pytest.mark.parametrize("path", [5, None, b"x"])
    def test_what_is_no_path_is_one_line(self, chat, path):
        for act in (chat.read, chat.save):
            with pytest.raises(PhiError, match="a file is named by the text of its path"):
                act(path)

    def test_a_folder_cannot_be_written(self, chat):
        chat("one")
        with pytest.raises(PhiError, match=r"\. is a folder: name a file in it"):
            chat.save(".")

    @pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there are no device files here")
    def test_what_is_no_regular_file_is_neither_read_nor_replaced(self, chat, tmp_path):
        os.mkfifo(tmp_path / "fifo")
        chat("one")
        for path in ("/dev/zero", "/dev/full", tmp_path / "fifo"):
            with pytest.raises(PhiError, match="not a regular file"):
                chat.read(path)
            with pytest.raises(PhiError, match="not a regular file"):
                chat.save(path)

    def test_turns_share_the_messages_before_them(self, chat, tmp_path):
        for prompt in ("one", "two", "three"):
            chat(prompt)
        turns = chat.read(chat.save(tmp_path / "x.json")).turns
        assert turns[1].reply.messages[0] is turns[2].reply.messages[0]

    def test_a_file_that_is_not_there_is_named(self, chat, tmp_path):
        with pytest.raises(PhiError, match="cannot be read"):
            chat.read(tmp_path / "none.json")
        chat("one")
        with pytest.raises(PhiError, match="cannot be written"):
            chat.save(tmp_path / "none" / "x.json")


class TestContext:
    """On the shipped model."""

    def test_turns_are_left_out_in_blocks_the_same_ones_whenever_it_is_asked_again(self):
        def left_out():
            phi = Phi(model="demo", n_ctx=256, max_tokens=20, seed=1, n_threads=1)
            phi.unload()
            forget()
            chat = phi.chat("long")
            return [chat("Now about the sea").left_out for _ in range(20)]

        found = left_out()
        assert found == sorted(found)
        assert found[-1] > 8
        assert len(set(found)) <= 5  # a new beginning of the prompt costs reading all of it
        assert left_out() == found

    def test_the_oldest_turns_are_left_out_never_the_system_message_and_the_record_keeps_all(self):
        phi = Phi(model="demo", n_ctx=128, max_tokens=20, seed=1, n_threads=1)
        chat = phi.chat("long")
        chat("Write a haiku about ice hockey", system="You are tiny.")
        for _ in range(9):
            reply = chat("Now about the sea")
        assert 0 < reply.left_out < 9
        assert f"the {reply.left_out} oldest turns left out" in reply.stats()
        assert reply.usage.prompt_tokens <= 128 - 20
        assert len(reply.messages) == 18
        assert reply.params["system"] == "You are tiny."
        record = reply.record()
        assert (record["left_out"], len(record["messages"])) == (reply.left_out, 18)
        # What was sent is what a conversation of the rest alone would send.
        kept = [{"role": "system", "content": "You are tiny."}, *reply.messages[2 * reply.left_out :]]
        alone = phi([*kept, {"role": "user", "content": "Now about the sea"}])
        assert (alone.text, alone.usage.prompt_tokens) == (reply.text, reply.usage.prompt_tokens)

    def test_a_question_too_long_alone_is_refused_with_both_figures(self):
        phi = Phi(model="demo", n_ctx=64, seed=1, n_threads=1)
        chat = phi.chat("long")
        chat("Hello")
        with pytest.raises(PhiError, match=r"has \d+ tokens, the context 64"):
            chat("ice " * 200)
        assert asked(chat) == ["Hello"]


@pytest.fixture
def ip(shell):
    shell.run_line_magic("load_ext", "phi_magic")
    shell.run_line_magic("config", "Phi.model = 'demo'")
    shell.run_line_magic("config", "Phi.seed = 1")
    shell.run_line_magic("config", "Phi.n_threads = 1")
    shell.run_line_magic("config", "Phi.max_tokens = 24")
    return shell


def offered(ip, line):
    with provisionalcompleter():
        return sorted(completion.text for completion in ip.Completer.completions(line, len(line)))


class TestMagic:
    def test_c_continues_and_without_it_a_question_stands_alone(self, ip):
        ip.run_cell_magic("phi", "-q -c -o first", "Write a haiku about ice hockey")
        ip.run_cell_magic("phi", "-q -c -o second", "Now about the sea")
        ip.run_cell_magic("phi", "-q -o alone", "Now about the sea")
        assert [m["content"] for m in ip.user_ns["second"].messages] == [
            "Write a haiku about ice hockey",
            ip.user_ns["first"].text,
        ]
        assert ip.user_ns["alone"].messages == []

    def test_a_name_follows_c_in_a_cell_and_is_joined_to_it_on_a_line(self, ip):
        ip.run_cell_magic("phi", "-q -c trip", "one")
        ip.run_cell_magic("phi", "-c ice -q", "one")
        ip.run_line_magic("phi", "-q -c=trip two")
        ip.run_line_magic("phi", "-q --chat=trip three")
        ip.run_line_magic("phi", "-q -c hello there")
        ip.run_line_magic("phi", "-c -q again")
        phi = Phi()
        assert asked(phi.chat("trip")) == ["one", "two", "three"]
        assert asked(phi.chat("ice")) == ["one"]
        assert asked(phi.chat()) == ["hello there", "again"]

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("-chat trip", "did you mean --chat?"),
            ("-c ../x", "cannot name a conversation"),
            ("-c --raw", "leave out --raw"),
        ],
    )
    def test_mistakes_are_one_line(self, ip, line, said):
        with pytest.raises(UsageError, match=re.escape(said)):
            ip.run_cell_magic("phi", line, "Hi")
        assert names() == []

    def test_list_undo_reset(self, ip, capsys):
        ip.run_line_magic("phi_chat", "list")
        assert "no conversations yet" in capsys.readouterr().out
        for prompt in ("one", "two"):
            ip.run_line_magic("phi", f"-q -c=trip {prompt}")
        ip.run_line_magic("phi_chat", "list")
        assert capsys.readouterr().out == "trip  2 turns, the last: two\n"
        ip.run_line_magic("phi_chat", "undo trip")
        assert capsys.readouterr().out == "trip: turn 2 dropped: two\n"
        ip.run_line_magic("phi_chat", "reset trip")
        ip.run_line_magic("phi_chat", "reset trip")
        assert capsys.readouterr().out == "trip: 1 turn dropped\ntrip: 0 turns dropped\n"

    @pytest.mark.parametrize("line", ["show", "show default", ""])
    def test_show_displays_the_conversation(self, ip, line):
        ip.run_line_magic("phi", "-q -c Hello")
        ip.run_line_magic("phi_chat", line)
        shown = ip.display_pub.outputs[-1]["data"]
        assert shown["text/markdown"].startswith("**1. You:** Hello\n\n**demo:**")
        assert "**1. You:**" in shown["text/markdown"]

    def test_save_and_read(self, ip, capsys):
        ip.run_line_magic("phi", "-q -c=trip Hello")
        ip.run_line_magic("phi_chat", "save trip")
        ip.run_line_magic("phi_chat", "save trip copy.json")
        ip.run_line_magic("phi_chat", "save trip 'a copy.json'")
        ip.run_line_magic("phi_chat", "reset trip")
        ip.run_line_magic("phi_chat", "read again copy.json")
        out = capsys.readouterr().out
        assert "trip: 1 turn written to trip.json" in out
        assert "again: 1 turn from copy.json" in out
        assert Path("a copy.json").exists()
        assert names() == ["again"]

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("shw", "there is no action shw; did you mean show?"),
            ("show tripp", "there is no conversation tripp; did you mean trip?"),
            ("undo default", "no turn to undo"),
            ("undo trip now", "'now' is one word too many"),
            ("list trip", "'trip' is one word too many"),
            ("save trip .", ". is a folder"),
            ("save trip 'open", "quote"),
            ("read trip none.json", "none.json: cannot be read"),
        ],
    )
    def test_a_typo_names_the_nearest(self, ip, line, said):
        ip.run_line_magic("phi", "-q -c=trip Hello")
        with pytest.raises(UsageError, match=re.escape(said)):
            ip.run_line_magic("phi_chat", line)

    def test_tab_completes_actions_conversations_and_formats(self, ip):
        ip.run_line_magic("phi", "-q -c=trip Hello")
        assert offered(ip, "%phi_chat s") == ["save", "show"]
        assert offered(ip, "%phi_chat show t") == ["trip"]
        assert offered(ip, "%%phi -c t") == ["trip"]
        assert offered(ip, "%%phi -f j") == ["json"]

    def test_python_reads_on_where_cells_left_off(self, ip):
        ip.run_line_magic("phi", "-q -c=trip Hello")
        chat = Phi(model="demo", n_threads=1, max_tokens=8).chat("trip")
        assert next(message["content"] for message in chat("And?").messages) == "Hello"
        ip.run_line_magic("phi", "-q -c=trip -o third Well?")
        assert len(ip.user_ns["third"].messages) == 4

    def test_unloading_forgets(self, ip):
        ip.run_line_magic("phi", "-q -c=trip Hello")
        ip.run_line_magic("unload_ext", "phi_magic")
        assert names() == []
        assert not [listener for listener in ip.events.callbacks["pre_run_cell"] if "ChatMagics" in repr(listener)]
