"""The engine in the caller's own process: what fits, what is loaded again, and what is freed."""

import os
from statistics import median

import pytest

from phi_magic import PhiError
from phi_magic.engine import model as models
from phi_magic.engine import runtime, saved_states
from phi_magic.engine.model import Model
from phi_magic.interrupt import Stop
from phi_magic.machine import Budget
from phi_magic.models.files import resolve
from tests.architectures import ARCHITECTURES, write


@pytest.fixture
def copy(tmp_path):
    """A file of the shipped model that anybody may write."""
    path = tmp_path / "model.gguf"
    path.write_bytes(resolve("demo").path.read_bytes())
    return path


def test_history_is_read_while_there_is_no_request(phi, engine):
    chat = phi.chat("read-ahead")
    chat.reset()
    first = chat("Write a haiku about the sea")
    held = len(engine.context.tokens)
    engine.idle(Stop())
    assert len(engine.context.tokens) > held
    second = chat("Another one")
    assert second.usage.cached_tokens >= first.usage.prompt_tokens + first.usage.completion_tokens - 8
    phi.unload()
    chat.undo()
    assert chat("Another one").text == second.text


def test_a_conversation_past_the_context_s_limit_costs_about_what_it_did_before(phi, engine, monkeypatch):
    counted, real = [0], Model._raw
    monkeypatch.setattr(Model, "_raw", lambda model, text: counted.append(len(text)) or real(model, text))
    chat = phi.chat("long")
    chat.reset()
    read, characters, past = [], [], 0
    while past < 45:
        counted.clear()
        reply = chat("Now write another haiku about the sea", n_ctx=256, max_tokens=24)
        characters.append(sum(counted))
        read.append(reply.usage.prompt_tokens - reply.usage.cached_tokens)
        past += bool(reply.left_out)
        engine.idle(Stop())  # as the worker does while the user reads
    before = len(read) - past
    assert before > 4
    assert median(read[-past:]) <= 2 * median(read[:before])
    # What is rendered and tokenized for an answer does not grow with the conversation.
    assert max(characters[-past:]) <= 3 * characters[before - 1]


def test_a_model_without_a_chat_template_is_named_when_it_is_loaded(phi, tmp_path):
    path = str(tmp_path / "bare.gguf")
    write(path, ARCHITECTURES["phi2"], template=None)
    said = []
    for _ in phi.stream("ice", model=path, max_tokens=1, on_status=said.append):
        pass
    assert said[-1] == f"{path} has no chat template: a prompt is written as `Instruct: … Output:`"
    said.clear()
    for _ in phi.stream("ice", model="demo", max_tokens=1, on_status=said.append):
        pass
    assert not [text for text in said if "template" in text]


def test_history_of_a_model_that_was_freed_is_not_read(phi, engine):
    phi.chat("read-ahead")("ice " * 40, max_tokens=1)
    phi.unload()
    phi("x", max_tokens=1)
    held = list(engine.context.tokens)
    engine.idle(Stop())
    assert engine.context.tokens == held


def test_the_first_question_counts_in_full(phi, engine, monkeypatch):
    phi.load()
    need = runtime._need(engine.header, engine.context.plan, 1792)
    monkeypatch.setattr(runtime, "available", lambda: Budget(need.total - 1, "free memory"))
    with pytest.raises(PhiError, match="what would fit"):
        phi("x", max_tokens=1700)
    monkeypatch.setattr(runtime, "available", lambda: Budget(need.total, "free memory"))
    assert phi("x", max_tokens=1700, stop=["a", "e", "i", "o", "u"]).tokens


def test_saved_states_give_way_to_a_question(phi, engine, monkeypatch):
    for word in ("ice", "sea", "snow"):
        phi(f"{word} " * 100, max_tokens=1)
    saved = engine.context._saved
    assert saved._states
    now, need = (runtime._need(engine.header, engine.context.plan, size) for size in (engine.context.size, 1792))
    room = need.total - (now.total - now.weights)
    monkeypatch.setattr(
        runtime, "available", lambda: Budget(room - sum(len(one.data) for one in saved._states), "free memory")
    )
    assert phi("x", max_tokens=1700, stop=["a", "e", "i", "o", "u"]).tokens
    assert len(saved._states) <= 1  # the last question's own


def test_where_memory_is_short_nothing_is_copied_and_answers_are_the_same(phi, engine, monkeypatch):
    questions = [f"{word} " * 100 for word in ("ice", "sea", "ice")]
    usual = [phi(question, max_tokens=8).text for question in questions]
    phi.unload()
    monkeypatch.setattr(saved_states, "available", lambda: Budget(0, "free memory"))
    assert [phi(question, max_tokens=8).text for question in questions] == usual
    assert not engine.context._saved._states


def test_a_model_that_does_not_fit_is_refused_before_it_loads(phi, engine, monkeypatch):
    monkeypatch.setattr(runtime, "available", lambda: Budget(1_000_000, "free memory"))
    with pytest.raises(PhiError, match=r"needs .* and there is 1 MB \(free memory\); what would fit"):
        phi("x")
    assert engine.model is None


def test_a_context_that_does_not_fit_is_refused_and_the_model_stays(phi, monkeypatch):
    short = phi("x", max_tokens=2).text
    monkeypatch.setattr(runtime, "available", lambda: Budget(6_000_000, "free memory"))
    with pytest.raises(PhiError, match="what would fit"):
        phi("word " * 200, max_tokens=1500)
    assert phi("x", max_tokens=2).text == short


def test_another_model_replaces_the_loaded_one(phi, engine, copy):
    phi("x", max_tokens=1)
    phi("x", max_tokens=1, model=str(copy))
    assert engine.model.path == copy
    phi.unload()
    assert engine.model is None


def test_a_file_that_was_replaced_is_loaded_again(phi, engine, copy):
    before = phi("x", max_tokens=1, model=str(copy))
    loaded = engine.model
    phi("x", max_tokens=1, model=str(copy))
    assert engine.model is loaded
    new = copy.with_suffix(".new")
    new.write_bytes(copy.read_bytes())
    os.replace(new, copy)  # noqa: PTH105 (the system call's own name)
    assert phi("x", max_tokens=1, model=str(copy)).text == before.text
    assert engine.model is not loaded


def test_questions_for_several_models_are_answered_by_theirs(phi, copy):
    questions = [("ice", {"model": model, "seed": seed}) for seed in (1, 2) for model in ("demo", str(copy))]
    together = phi.stream_all(questions)
    together.run()
    assert [reply.model for reply in together.replies] == ["demo", str(copy)] * 2
    assert [reply.timings.load > 0 for reply in together.replies] == [True, True, False, False]
    assert all(reply.finish_reason != "interrupted" for reply in together.replies)


def test_a_model_that_cannot_go_back_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(models.C, "llama_model_is_recurrent", lambda pointer: True)
    with pytest.raises(PhiError, match="cannot go back to an earlier turn; use"):
        Model(resolve("demo").path)
