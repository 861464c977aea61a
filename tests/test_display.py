"""How often an answer is redrawn, and what is left in the notebook."""

import io

import pytest

from phi_magic.display import CellView, TerminalView
from phi_magic.reply import Reply, Timings


class Clock:
    """A clock that a test sets; ``cost`` is what each look at it takes."""

    def __init__(self, cost=0.0):
        self.now = 0.0
        self.cost = cost

    def __call__(self):
        self.now += self.cost
        return self.now


@pytest.fixture
def reply():
    return Reply(prompt="q", model="demo", params={"temperature": 0.8}, seed=7)


def grow(view, reply, clock, pieces, seconds):
    for piece in pieces:
        clock.now += seconds
        reply.text += piece
        view.grow(reply, piece)


def published(shell):
    return shell.display_pub.outputs


def test_an_answer_is_one_output_redrawn_at_most_every_interval(shell, reply):
    clock = Clock()
    view = CellView(refresh_interval=1.25, clock=clock)
    grow(view, reply, clock, "abcdefghijklmnopqrstuvwxyz", 0.125)
    drawn = published(shell)
    assert [output["data"]["text/plain"] for output in drawn] == ["a", "abcdefghijk", "abcdefghijklmnopqrstu"]
    assert len({output["transient"]["display_id"] for output in drawn}) == 1
    assert [output["update"] for output in drawn] == [False, True, True]


def test_a_dear_redraw_makes_the_next_one_wait(shell, reply):
    clock = Clock(cost=0.01)
    view = CellView(refresh_interval=0.01, clock=clock)
    grow(view, reply, clock, "x" * 200, 0.01)
    assert len(published(shell)) <= 9  # 4 s of text, a redraw of 10 ms


def test_a_first_redraw_that_imports_what_draws_does_not_hold_up_the_next(shell, reply):
    clock = Clock()
    view = CellView(refresh_interval=0.1, clock=clock)
    publish = shell.display_pub.publish

    def slow(*arguments, **keywords):
        clock.now += 5
        publish(*arguments, **keywords)

    shell.display_pub.publish = slow
    view.grow(reply, "a")
    shell.display_pub.publish = publish
    grow(view, reply, clock, "bc", 0.125)
    assert len(published(shell)) == 3


def test_the_end_is_always_drawn_with_the_record_of_the_answer(shell, reply):
    view = CellView(clock=Clock())
    reply.text, reply.finish_reason = "*Hi*", "stop"
    view.finish(reply)
    answer, stats = published(shell)
    assert answer["data"]["text/plain"] == "*Hi*"
    assert answer["data"]["text/markdown"] == "*Hi*\n"
    assert "text/html" not in answer["data"]
    record = answer["metadata"]["phi_magic"]
    assert (record["seed"], record["model"], record["params"]["temperature"]) == (7, "demo", 0.8)
    assert "text" not in record
    assert "seed 7" in stats["data"]["text/plain"]


def test_the_line_below_names_the_settings_that_are_not_the_defaults(shell, reply):
    params = {"temperature": 1.5, "top_p": 0.95, "top_k": 0, "max_tokens": 1024, "system": "Be brief.", "stop": []}
    reply.finish_reason, reply.params = "stop", params
    CellView(clock=Clock()).finish(reply)
    assert published(shell)[-1]["data"]["text/plain"].endswith("stop · temperature 1.5, max tokens 1,024, system")
    err = io.StringIO()
    TerminalView(io.StringIO(), err, turn="trip: turn 2").finish(reply)
    assert err.getvalue().endswith("stop · trip: turn 2 · temperature 1.5, max tokens 1,024, system\n")


@pytest.mark.parametrize(
    ("rate", "said"),
    [(1690.4, "1,690 tokens/s"), (100, "100 tokens/s"), (12.34, "12.3 tokens/s"), (0.5, "0.5 tokens/s")],
)
def test_the_speed_is_said_in_plain_digits(rate, said):
    assert Timings(tokens_per_second=rate).speed == said


def test_stats_can_be_left_out_but_an_interruption_is_always_shown(shell, reply):
    reply.finish_reason = "stop"
    CellView(show_stats=False).finish(reply)
    assert len(published(shell)) == 1
    reply.finish_reason = "interrupted"
    CellView(show_stats=False).finish(reply)
    assert "interrupted" in published(shell)[-1]["data"]["text/plain"]


def test_without_streaming_only_the_end_is_drawn(shell, reply):
    clock = Clock()
    view = CellView(stream=False, clock=clock)
    grow(view, reply, clock, "abc", 1)
    assert not published(shell)


def test_what_is_going_on_stands_where_the_answer_will(shell, reply):
    view = CellView(clock=Clock())
    view.status("loading phi-3-mini-4k: 40%")
    view.grow(reply, "a")
    first, second = published(shell)
    assert "loading phi-3-mini-4k: 40%" in first["data"]["text/plain"]
    assert second["update"]


def test_a_terminal_gets_each_piece_once_and_nothing_that_steers_it(reply):
    out, err = io.StringIO(), io.StringIO()
    view = TerminalView(out, err)
    for piece in ["ice\x1b[2J", " skates"]:
        reply.text += piece
        view.grow(reply, piece)
    view.finish(reply)
    assert "\x1b" not in out.getvalue()
    assert out.getvalue().endswith(" skates\n")
    assert "seed 7" in err.getvalue()


@pytest.fixture
def thoughts(reply):
    """A reply whose thoughts are there, and nothing of its answer."""
    reply.reasoning, reply.usage.reasoning_tokens, reply.timings.reasoning = "Hm, five.", 3, 1.5
    return reply


@pytest.mark.parametrize("form", ["markdown", "text", "code", "json", "html", "math"])
def test_thoughts_stream_open_and_are_folded_at_the_end(shell, thoughts, form):
    view = CellView(form, clock=Clock())
    view.grow(thoughts, "")
    thoughts.text, thoughts.finish_reason = "5", "stop"
    view.finish(thoughts)
    growing, whole, _ = published(shell)
    for data, opened in ((growing["data"], " open"), (whole["data"], "")):
        assert data["text/html"].startswith(f"<details{opened}><summary")
        assert "thought for 3 tokens, 1.5 s" in data["text/html"]
        assert "Hm, five." in data["text/html"]
        assert "Hm" not in data["text/plain"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_keeps_one_dimmed_line_of_the_thoughts(thoughts):
    out, err = io.StringIO(), Terminal()
    view = TerminalView(out, err, show_stats=False)
    view.grow(thoughts, "")
    thoughts.usage.reasoning_tokens = 4
    view.grow(thoughts, "")
    for piece in ("Fi", "ve."):
        thoughts.text += piece
        view.grow(thoughts, piece)
    view.finish(thoughts)
    assert out.getvalue() == "Five.\n"
    assert err.getvalue().endswith("\r\x1b[2mthought for 4 tokens, 1.5 s\x1b[0m\n")


def test_a_file_gets_no_codes_of_a_terminal(thoughts):
    out, err = io.StringIO(), io.StringIO()
    view = TerminalView(out, err, stream=False)
    view.grow(thoughts, "")
    thoughts.text = "Five."
    view.finish(thoughts)
    assert "\x1b" not in out.getvalue() + err.getvalue()
    assert err.getvalue().count("thought for 3 tokens, 1.5 s") == 1  # in the statistics
