"""The explorer as ipywidgets has it, without a browser."""

from __future__ import annotations

import numpy as np
import pytest

from phi_magic import Phi, distribution
from phi_magic.generation.position import Position
from phi_magic.sampling import stages
from phi_magic.widgets.bars import cuts, figures, mass, rows, view
from phi_magic.widgets.explorer import KNOBS, Explorer

HAIKU = "Write a haiku about ice hockey"


@pytest.fixture(scope="module")
def reply():
    return Phi(model="demo", seed=3, temperature=0.9)(HAIKU)


@pytest.fixture
def explorer():
    explorer = Explorer(Phi(model="demo", seed=3), HAIKU)
    explorer.begin()
    explorer.wait()
    yield explorer
    explorer.end()
    explorer.wait()


@pytest.fixture
def looks(explorer, monkeypatch):
    """Every look at logits, which is what costs a decode."""
    seen = []
    real = explorer.knobs.look

    def look(*arguments, **options):
        seen.append(arguments)
        return real(*arguments, **options)

    explorer.knobs.look = look
    return seen


def press(explorer, name):
    explorer.buttons[name].click()
    explorer.wait()


def bars(explorer):
    return {row["text"]: row["bars"] for row in explorer.bars.view["rows"]}


class TestBars:
    POSITION = Position(
        (0,), np.array([4, 3, 2, 1, 0, -1], np.float32), [" a", "b", "\n", "d", "<|end|>", "f"], frozenset({4})
    )

    def seen(self, **knobs):
        return stages(self.POSITION.logits, self.POSITION.generated, **{"repeat_penalty": 1, "top_p": 1, **knobs})

    def test_a_uniform_choice_of_eight_has_three_bits(self):
        found = figures(np.full(8, 1 / 8))
        assert (found.tokens, found.entropy, found.choices) == (8, pytest.approx(3), pytest.approx(8))

    def test_the_mass_left_is_what_the_cuts_left_of_it(self):
        seen = self.seen(temperature=1, top_k=2)
        assert mass(seen) == pytest.approx(seen.tempered[:2].sum())
        assert cuts(seen) == {"top-k": 4}

    def test_rows_come_in_the_order_of_the_raw_logits_and_name_the_knob_that_cut(self):
        found = rows(self.POSITION, self.seen(temperature=1, top_k=4, min_p=0.1))
        assert [row.text for row in found] == [" a", "b", "\n", "d", "<|end|>", "f"]
        assert [row.cut for row in found] == ["", "", "", "min-p", "top-k", "top-k"]

    def test_tokens_are_shown_for_what_they_are_and_the_taken_one_is_marked(self):
        drawn = view(self.POSITION, self.seen(temperature=1), [0, 2], 2)
        assert [row["text"] for row in drawn["rows"]][:3] == ["␣a", "b", "↵"]
        assert [row["text"] for row in drawn["rows"] if row["taken"]] == ["↵"]
        assert drawn["rows"][4]["kind"] == "control token"
        assert [one["text"] for one in drawn["path"]] == ["␣a", "↵"]

    def test_the_longest_bar_fills_its_cell(self):
        drawn = view(self.POSITION, self.seen(temperature=1), [], None)
        assert max(width for row in drawn["rows"] for width, _ in row["bars"]) == 100


class TestKnobs:
    def test_a_slider_redraws_from_the_kept_logits_without_a_decode(self, explorer, looks):
        for name, value in [
            ("temperature", 1.7),
            ("top_p", 0.5),
            ("top_k", 3),
            ("min_p", 0.2),
            ("repeat_penalty", 1.5),
        ]:
            before = explorer.bars.view, explorer.redraw_seconds
            explorer.sliders[name].value = value
            assert explorer.redraw_seconds != before[1]
        assert not looks
        assert bars(explorer) == {row["text"]: row["bars"] for row in view_of(explorer)["rows"]}

    def test_a_redraw_takes_less_than_50_ms(self, explorer):
        took = []
        for step in range(20):
            explorer.sliders["temperature"].value = 0.5 + step / 20
            took.append(explorer.redraw_seconds)
        assert sorted(took)[10] < 0.05

    def test_it_moves_no_setting(self):
        phi = Phi(model="demo", temperature=0.4)
        explorer = Explorer(phi, HAIKU)
        assert explorer.sliders["temperature"].value == 0.4
        explorer.sliders["temperature"].value = 1.9
        assert phi.temperature == 0.4

    def test_the_last_stage_is_what_is_drawn_from(self, explorer):
        explorer.sliders["top_k"].value = 2
        knobs = {name: getattr(explorer.knobs, name) for name in KNOBS}
        expected = distribution(explorer.position.logits, (), **knobs)
        assert (explorer._stages.kept == expected).all()
        press(explorer, "Draw")
        assert expected[explorer.path[0]] > 0


def view_of(explorer):
    return view(explorer.position, explorer._stages, explorer.path, None)


class TestSteps:
    def test_the_likeliest_to_the_end_is_the_greedy_answer(self, explorer):
        greedy = Phi(model="demo", temperature=0)(HAIKU)
        for _ in range(len(greedy.tokens) + 1):
            press(explorer, "Likeliest")
        assert explorer.path == [token.id for token in greedy.tokens]
        assert "ends the answer" in explorer.status.value

    def test_going_back_and_on_decodes_nothing_again(self, explorer, looks):
        press(explorer, "Likeliest")
        press(explorer, "Likeliest")
        drawn = explorer.bars.view
        looks.clear()
        press(explorer, "Back")
        assert explorer.at == 1
        press(explorer, "Forward")
        assert not looks
        assert explorer.bars.view == drawn

    def test_any_token_can_be_taken_by_a_click(self, explorer):
        row = explorer.bars.view["rows"][5]
        explorer._heard(explorer.bars, {"take": row["id"]}, [])
        explorer.wait()
        assert explorer.path == [row["id"]]
        assert explorer.bars.view["path"][0]["text"] == row["text"]

    def test_another_token_than_the_written_one_begins_a_branch(self, reply):
        explorer = Explorer.of(reply)
        explorer.begin()
        explorer.go(0)
        explorer.wait()
        explorer.take(explorer.path[0])
        explorer.wait()
        assert explorer.path == [token.id for token in reply.tokens]
        other = next(row["id"] for row in explorer.bars.view["rows"] if row["id"] != explorer.path[1])
        explorer.take(other)
        explorer.wait()
        assert explorer.path == [reply.tokens[0].id, other]

    def test_play_writes_to_the_end_and_stop_stops_it(self, explorer, monkeypatch):
        monkeypatch.setattr("phi_magic.widgets.explorer._PACE", 0)
        press(explorer, "Play")
        assert len(explorer.path) > 5
        assert "ends the answer" in explorer.status.value
        monkeypatch.setattr("phi_magic.widgets.explorer._PACE", 60)
        explorer.begin()
        explorer.wait()
        explorer.buttons["Play"].click()
        assert not explorer.buttons["Stop"].disabled
        press(explorer, "Stop")
        assert not explorer.buttons["Draw"].disabled

    def test_a_seed_makes_the_draws_the_same_each_time(self, explorer, monkeypatch):
        monkeypatch.setattr("phi_magic.widgets.explorer._PACE", 0)
        press(explorer, "Play")
        first = explorer.path[:]
        explorer.go(0)
        explorer.wait()
        explorer.path.clear()
        press(explorer, "Play")
        assert explorer.path == first

    def test_another_prompt_starts_anew(self, explorer):
        press(explorer, "Likeliest")
        explorer.prompt.value = "What is a token?"
        press(explorer, "Start")
        assert (explorer.path, explorer.at) == ([], 0)

    def test_a_mistake_is_told(self, explorer):
        explorer.prompt.value = " "
        press(explorer, "Start")
        assert "the prompt is empty" in explorer.status.value
        assert not explorer.buttons["Start"].disabled


class TestReply:
    def test_it_begins_where_an_answer_was_written_with_its_settings(self, reply):
        explorer = Explorer.of(reply)
        explorer.begin()
        explorer.wait()
        assert explorer.at == 0
        assert explorer.sliders["temperature"].value == 0.9
        assert [row["id"] for row in explorer.bars.view["rows"] if row["taken"]] == [reply.tokens[0].id]
        assert explorer._stages.kept[reply.tokens[0].id] == pytest.approx(reply.tokens[0].probability, rel=1e-4)


class TestSaved:
    def test_without_a_kernel_its_state_reads(self, explorer):
        explorer.sliders["top_p"].value = 0.3
        press(explorer, "Likeliest")
        state = explorer._state()
        for form in ("text/html", "text/plain"):
            assert "cut by top-p" in state[form]
            assert "mass left" in state[form]
            assert HAIKU in state[form]
            assert "bits" in state[form] or form == "text/plain"
        assert "<script" not in state["text/html"]

    def test_what_a_prompt_says_is_text(self, explorer):
        explorer.prompt.value = "<img src=x onerror=alert(1)>"
        assert "<img" not in explorer._state()["text/html"]
