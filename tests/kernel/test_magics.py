"""%phi and %%phi in a real kernel: what a front end is sent, and when."""

from __future__ import annotations

import itertools

import pytest

pytestmark = pytest.mark.kernel


@pytest.fixture
def phi(kernel, slow_start):
    """The kernel with the extension loaded, and a model slow enough to be watched."""
    done = kernel.run(slow_start)
    assert done.reply["status"] == "ok", done.reply
    return kernel


def display_id(shown):
    return shown["transient"].get("display_id")


def growing(execution):
    """The answer's text at each redraw."""
    return [shown["data"]["text/plain"] for shown in execution.displays if display_id(shown)]


def test_the_answer_grows_in_place(phi):
    done = phi.run("%%phi -n 60 --seed 1\nWrite about ice")
    states = [text for text in growing(done) if not text.startswith("(")]
    assert len(states) >= 3
    assert all(later.startswith(earlier.rstrip()) for earlier, later in itertools.pairwise(states))
    assert len({display_id(shown) for shown in done.displays if display_id(shown)}) == 1


def test_the_output_records_what_it_was_made_with(phi):
    done = phi.run("%%phi -n 20 --seed 7 -t 0.5\nWrite about ice")
    [record] = [shown["metadata"]["phi_magic"] for shown in done.displays if "phi_magic" in shown["metadata"]]
    assert record["seed"] == 7
    assert record["params"]["temperature"] == 0.5
    assert record["finish_reason"] == "length"
    assert record["usage"]["completion_tokens"] == 20
    assert "text" not in record


def redrawn(message):
    return message["msg_type"] == "update_display_data"


def test_an_interrupt_keeps_the_partial_answer_and_stops_the_queue(phi):
    asked = phi.submit("%%phi -o answer --seed 1 -n 2000\nWrite about ice")
    queued = phi.submit("queued = True")
    done = phi.follow(asked, phi.interrupt_once(redrawn))
    assert (done.reply["ename"], done.reply["traceback"]) == ("KeyboardInterrupt", ["KeyboardInterrupt"])
    assert phi.follow(queued).reply["status"] == "aborted"
    kept = phi.run("print(answer.finish_reason, answer.usage.completion_tokens, len(answer.text.split()))")
    finish, tokens, words = kept.stdout.split()
    assert finish == "interrupted"
    assert 0 < int(words) <= int(tokens) < 2000
    assert len(growing(done)[-1].split()) == int(words)
    assert "interrupted" in done.displays[-1]["data"]["text/plain"]


def test_after_an_interrupt_the_next_answer_is_that_of_a_fresh_model(phi):
    greedy = "%%phi -q -o answer -t 0 -n 30\nWrite about ice"
    phi.run(greedy)
    fresh = phi.run("print(answer.text)").stdout
    phi.follow(phi.submit("%%phi --seed 1 -n 2000\nWrite about a river"), phi.interrupt_once(redrawn))
    phi.run(greedy)
    assert phi.run("print(answer.text)").stdout == fresh


def test_a_mistake_is_one_line_and_stops_run_all(phi):
    wrong = phi.submit("%%phi --temperature 99\nWrite about ice")
    queued = phi.submit("queued = True")
    done = phi.follow(wrong)
    assert done.reply["ename"] == "UsageError"
    assert done.stderr.count("\n") == 1
    assert "temperature" in done.stderr
    assert phi.follow(queued).reply["status"] == "aborted"


def test_the_same_seed_gives_the_same_text_again(phi):
    cell = "%%phi -q -o answer --seed 5 -n 40\nWrite about ice"
    texts = set()
    for _ in range(3):
        phi.run(cell)
        texts.add(phi.run("print(answer.text)").stdout)
    assert len(texts) == 1
