"""The explorer as ipywidgets has it, without a browser."""

from __future__ import annotations

import re
from dataclasses import asdict

import numpy as np
import pytest

from phi_magic import Phi, distribution
from phi_magic.parameters import SamplingParameters
from phi_magic.position import Position
from phi_magic.reply import Alternative
from phi_magic.sampling import stages
from phi_magic.widgets import curve
from phi_magic.widgets.bars import cuts, figures, mass, rows, table, tail, view
from phi_magic.widgets.explorer import Explorer

HAIKU = "Write a haiku about ice hockey"


@pytest.fixture(scope="module")
def reply():
    return Phi(model="demo", seed=3, temperature=0.9)(HAIKU)


def begun(explorer):
    explorer.begin()
    explorer.wait()
    return explorer


@pytest.fixture
def explorer():
    explorer = begun(Explorer(Phi(model="demo", seed=3), HAIKU))
    yield explorer
    explorer.end()
    explorer.wait()


@pytest.fixture
def looks(explorer):
    """Every look at logits, which is what costs a decode."""
    seen = []
    real = explorer.settings.look

    def look(*arguments, **options):
        seen.append(arguments)
        return real(*arguments, **options)

    explorer.settings.look = look
    return seen


def press(explorer, name):
    explorer.buttons[name].click()
    explorer.wait()


def column(explorer):
    [column] = explorer.columns
    return column


def walk(explorer):
    return column(explorer).walk


def path(explorer):
    return [token.id for token in walk(explorer).path]


def shown(explorer):
    return column(explorer).bars.view


class TestBars:
    POSITION = Position(
        (0,), np.array([4, 3, 2, 1, 0, -1], np.float32), [" a", "b", "\n", "d", "<|end|>", "f"], frozenset({4})
    )

    def seen(self, **parameters):
        return stages(self.POSITION.logits, self.POSITION.generated, **{"repeat_penalty": 1, "top_p": 1, **parameters})

    def test_a_uniform_choice_of_eight_has_three_bits(self):
        found = figures(np.full(8, 1 / 8))
        assert (found.tokens, found.entropy, found.choices) == (8, pytest.approx(3), pytest.approx(8))

    def test_the_mass_left_is_what_the_cuts_left_of_it(self):
        seen = self.seen(temperature=1, top_k=2)
        assert mass(seen) == pytest.approx(seen.tempered[:2].sum())
        assert cuts(seen) == {"top-k": 4}

    def test_rows_come_in_the_order_of_the_raw_logits_and_name_the_parameter_that_cut(self):
        found = rows(self.POSITION, self.seen(temperature=1, top_k=4, min_p=0.1))
        assert [row.text for row in found] == [" a", "b", "\n", "d", "<|end|>", "f"]
        assert [row.cut for row in found] == ["", "", "", "min-p", "top-k", "top-k"]

    def test_tokens_are_shown_for_what_they_are_and_the_taken_one_is_marked(self):
        path = [Alternative(0, " a", np.log(0.64), 1.0), Alternative(2, "\n", np.log(0.004), 0.0)]
        drawn = view(self.POSITION, self.seen(temperature=1), path, 2)
        assert [row["text"] for row in drawn["rows"]][:3] == ["␣a", "b", "↵"]
        assert [row["text"] for row in drawn["rows"] if row["taken"]] == ["↵"]
        assert drawn["rows"][4]["kind"] == "control token"
        assert [(one["text"], one["number"]) for one in drawn["path"]] == [("␣a", "64"), ("↵", "0.40")]

    def test_a_bar_is_as_wide_as_its_probability_so_that_no_column_moves_with_another(self):
        first, second = (view(self.POSITION, self.seen(temperature=t), [], None) for t in (1, 0.2))
        for one, other in zip(first["rows"], second["rows"], strict=True):
            assert one["bars"][0] == other["bars"][0]
            assert one["bars"][0][0] == pytest.approx(100 * self.seen(temperature=1).raw[one["id"]], abs=0.01)

    def test_the_column_of_the_penalty_is_there_where_it_changes_something(self):
        def heads(**parameters):
            return [head["title"] for head in view(self.POSITION, self.seen(**parameters), [], None)["heads"]]

        assert heads() == ["raw", "after temperature", "after top-p, top-k, min-p"]
        assert heads(repeat_penalty=1.3)[1] == "after penalty"

    def test_bits_and_choices_are_explained(self):
        for head in view(self.POSITION, self.seen(), [], None)["heads"]:
            (bits, entropy), (choices, perplexity) = head["notes"]
            assert bits.endswith("bits")
            assert "Entropy" in entropy
            assert choices.endswith("choices")
            assert "Perplexity" in perplexity

    def test_the_tail_is_all_that_has_no_row_through_all_stages(self):
        position = Position((), np.linspace(0, -1, 100).astype(np.float32), [str(n) for n in range(100)], frozenset())
        seen = stages(position.logits, temperature=3, top_p=1, top_k=20, repeat_penalty=1)
        shown_rows = rows(position, seen)
        told = tail(seen, shown_rows)
        for probability, p in zip(told, (seen.raw, seen.tempered, seen.kept), strict=True):
            assert probability + p[[row.id for row in shown_rows]].sum() == pytest.approx(1)
        drawn = view(position, seen, [], None)["tail"]
        assert drawn["text"] == f"{100 - len(shown_rows)} others"
        assert [width for width, _ in drawn["bars"]] == [round(100 * p, 2) for p in told]

    def test_without_a_kernel_every_bar_has_its_width_in_its_own_element(self):
        seen = self.seen(temperature=1)
        page = table(self.POSITION, seen, None)["text/html"]
        widths = [float(width) for width in re.findall(r"width: ([\d.]+)%", page)]
        drawn = view(self.POSITION, seen, [], None)
        assert widths == [width for row in [*drawn["rows"], drawn["tail"]] for width, _ in row["bars"]]
        assert "<script" not in page


class TestCurve:
    LOGITS = np.random.default_rng(0).normal(0, 3, 5000).astype(np.float32)

    def view(self, **parameters):
        sampling = SamplingParameters(**{"repeat_penalty": 1, "top_p": 1, "temperature": 1, **parameters})
        return curve.view(stages(self.LOGITS, **asdict(sampling)), sampling)

    def test_it_ends_at_one_and_needs_few_points(self):
        seen = self.view(top_p=0.9)
        assert len(seen["ranks"]) <= 120
        assert (seen["ranks"][0], seen["ranks"][-1]) == (1, 5000)
        for sums in seen["curves"].values():
            assert sums == sorted(sums)
            assert len(sums) == len(seen["ranks"])
            assert sums[-1] == pytest.approx(1)

    def test_a_high_temperature_lowers_it_and_the_cuts_lift_it_again(self):
        seen = self.view(temperature=1.5, top_p=0.9)
        at = seen["ranks"].index(min(seen["ranks"], key=lambda rank: abs(rank - 30)))
        raw, tempered, cut = (sums[at] for sums in seen["curves"].values())
        assert tempered < cut
        assert tempered < raw

    def test_the_lines_stand_where_the_parameters_cut(self):
        parameters = {"top_p": 0.9, "top_k": 40, "min_p": 0.05}
        for name, value in parameters.items():
            kept = distribution(self.LOGITS, temperature=1, repeat_penalty=1, **{"top_p": 1, name: value})
            [line] = self.view(**{name: value})["lines"]
            assert line["name"].startswith(name.replace("_", "-"))
            assert line["rank"] == (kept > 0).sum()
        assert len(self.view(**parameters)["lines"]) == 3
        assert self.view()["lines"] == []

    def test_it_says_in_words_what_it_shows(self):
        assert re.fullmatch(
            r"Of 5,000 tokens \d+ have 90 % raw, [\d,]+ have 90 % after temperature, \d+ have 90 % after the cuts; the cuts "
            r"leave 40\.",
            self.view(top_k=40)["words"],
        )

    def test_a_line_has_the_exact_value_that_cuts(self):
        for value in (0.999, 0.333):
            assert [line["name"] for line in self.view(top_p=value)["lines"]] == [f"top-p {value}"]
        assert self.view(top_p=1, min_p=0.005)["lines"][0]["name"] == "min-p 0.005"


class TestSliders:
    def test_a_slider_redraws_from_the_kept_logits_without_a_decode(self, explorer, looks):
        for name, value in [
            ("temperature", 1.7),
            ("top_p", 0.5),
            ("top_k", 3),
            ("min_p", 0.2),
            ("repeat_penalty", 1.5),
        ]:
            before = explorer.redraw_seconds
            column(explorer).sliders.move(name, value)
            assert explorer.redraw_seconds != before
        assert not looks
        here = walk(explorer)
        assert shown(explorer) == view(here.position, here.stages, here.path, None)
        assert [line["rank"] for line in column(explorer).curve.view["lines"]][1] == 3

    def test_it_moves_no_setting(self):
        phi = Phi(model="demo", temperature=0.777)
        explorer = Explorer(phi, HAIKU)
        assert column(explorer).sliders.values["temperature"] == 0.777
        column(explorer).sliders.move("temperature", 1.9)
        assert phi.temperature == 0.777
        assert explorer.settings.temperature == 1.9

    def test_the_last_stage_is_what_is_drawn_from(self, explorer):
        column(explorer).sliders.move("top_k", 2)
        expected = distribution(walk(explorer).position.logits, (), **asdict(walk(explorer).sampling))
        assert (walk(explorer).stages.kept == expected).all()
        press(explorer, "Draw")
        assert expected[path(explorer)[0]] > 0


class TestSteps:
    def test_the_likeliest_to_the_end_is_the_greedy_answer(self, explorer):
        greedy = Phi(model="demo", temperature=0)(HAIKU)
        for _ in range(len(greedy.tokens) + 1):
            press(explorer, "Likeliest")
        assert path(explorer) == [token.id for token in greedy.tokens]
        assert "ends the answer" in explorer.status.widget.value

    def test_going_back_and_on_decodes_nothing_again(self, explorer, looks):
        press(explorer, "Likeliest")
        press(explorer, "Likeliest")
        drawn = shown(explorer)
        looks.clear()
        press(explorer, "Back")
        assert explorer.at == 1
        press(explorer, "Forward")
        assert not looks
        assert shown(explorer) == drawn

    def test_back_and_forward_are_offered_where_there_is_something(self, explorer):
        def offered():
            return [name for name in ("Back", "Forward") if not explorer.buttons[name].disabled]

        assert offered() == []
        press(explorer, "Likeliest")
        assert offered() == ["Back"]
        press(explorer, "Likeliest")
        press(explorer, "Back")
        assert offered() == ["Back", "Forward"]
        press(explorer, "Back")
        assert offered() == ["Forward"]

    def test_any_token_can_be_taken_by_a_click(self, explorer):
        row = shown(explorer)["rows"][5]
        explorer._heard(column(explorer).bars, {"take": row["id"]}, [])
        explorer.wait()
        assert path(explorer) == [row["id"]]
        taken = shown(explorer)["path"][0]
        assert taken["text"] == row["text"]
        assert f"{taken['number']} %" == row["bars"][0][1]

    def test_another_token_than_the_written_one_begins_a_branch(self, reply):
        explorer = begun(Explorer.of(reply))
        explorer.take(path(explorer)[0])
        explorer.wait()
        assert path(explorer) == [token.id for token in reply.tokens]
        other = next(row["id"] for row in shown(explorer)["rows"] if row["id"] != path(explorer)[1])
        explorer.take(other)
        explorer.wait()
        assert path(explorer) == [reply.tokens[0].id, other]

    def test_play_writes_to_the_end_and_stop_stops_it(self, explorer, monkeypatch):
        monkeypatch.setattr("phi_magic.widgets.explorer._PACE", 0)
        press(explorer, "Play")
        assert len(path(explorer)) > 5
        assert "ends the answer" in explorer.status.widget.value
        monkeypatch.setattr("phi_magic.widgets.explorer._PACE", 60)
        begun(explorer)
        explorer.buttons["Play"].click()
        assert not explorer.buttons["Stop"].disabled
        press(explorer, "Stop")
        assert not explorer.buttons["Draw"].disabled

    def test_a_mistake_is_shown(self, explorer):
        explorer.prompt.value = " "
        assert explorer.buttons["Start"].disabled
        begun(explorer)
        assert "the prompt is empty" in explorer.status.widget.value
        explorer.prompt.value = HAIKU
        assert not explorer.buttons["Start"].disabled


class TestSeed:
    @pytest.mark.parametrize(
        "settings",
        [{"seed": 3}, {"seed": 11, "temperature": 1.5, "top_p": 1}, {"seed": 2**32 - 2, "top_k": 40, "top_p": 1}],
        ids=str,
    )
    def test_playing_writes_the_answer_that_a_cell_with_this_seed_has(self, settings, monkeypatch):
        monkeypatch.setattr("phi_magic.widgets.explorer._PACE", 0)
        phi = Phi(model="demo", max_tokens=60, **settings)
        explorer = begun(Explorer(phi, HAIKU))
        for _ in range(60):
            press(explorer, "Draw")
        assert path(explorer) == [token.id for token in phi(HAIKU).tokens]

    def test_without_a_seed_one_is_drawn_at_the_start_and_shown(self):
        explorer = Explorer(Phi(model="demo"), HAIKU)
        seeds = set()
        for _ in range(3):
            begun(explorer)
            seeds.add(explorer.seeds.field.value)
            assert explorer.seed == explorer.seeds.field.value
            press(explorer, "Draw")
            assert path(explorer)[0] == Phi(model="demo", seed=explorer.seed)(HAIKU).tokens[0].id
        assert len(seeds) == 3

    def test_the_random_number_of_the_step_is_shown_and_follows_the_seed(self, explorer):
        before = explorer.status.widget.value
        assert re.search(r"step 1 · random number 0\.\d{4}", before)
        explorer.seeds.roll()
        assert explorer.status.widget.value != before


class TestPrompt:
    def test_another_prompt_starts_anew(self, explorer):
        press(explorer, "Likeliest")
        explorer.prompt.value = "What is a token?"
        press(explorer, "Start")
        assert (path(explorer), explorer.at) == ([], 0)

    @pytest.mark.parametrize("step", ["Draw", "Likeliest"])
    def test_a_step_after_an_edit_asks_the_new_prompt(self, explorer, step):
        press(explorer, "Likeliest")
        explorer.prompt.value = "Write a haiku about the sea"
        assert "the prompt was edited" in explorer.status.widget.value
        press(explorer, step)
        other = begun(Explorer(Phi(model="demo", seed=3), "Write a haiku about the sea"))
        press(other, step)
        assert path(explorer) == path(other)
        assert shown(explorer) == shown(other)

    def test_a_prompt_that_is_typed_into_an_empty_explorer_needs_no_start(self):
        explorer = Explorer(Phi(model="demo", seed=3))
        assert explorer.buttons["Draw"].disabled
        explorer.prompt.value = HAIKU
        assert not explorer.buttons["Draw"].disabled
        press(explorer, "Draw")
        assert len(path(explorer)) == 1

    def test_an_edited_question_stays_in_its_conversation(self):
        phi = Phi(model="demo", seed=3)
        chat = phi.chat("explored")
        chat(HAIKU)
        reply = chat("Another one, please")
        explorer = begun(Explorer.of(reply))
        explorer.prompt.value = "And one about tea"
        press(explorer, "Likeliest")
        history = [*reply.messages, {"role": "user", "content": "And one about tea"}]
        position = phi.look(history)
        assert np.allclose(walk(explorer)._positions[()].logits, position.logits, atol=0.1)


class TestCompare:
    @pytest.fixture
    def comparison(self):
        cold, hot = Phi(model="demo", seed=3, temperature=0.8), Phi(model="demo", seed=9, temperature=1.5)
        return begun(Explorer({"-t 0.8": cold, "-t 1.5": hot}, HAIKU))

    def test_both_begin_with_the_same_logits_under_their_own_settings(self, comparison):
        cold, hot = comparison.columns
        assert (cold.walk.position.logits == hot.walk.position.logits).all()
        assert (cold.sliders.values["temperature"], hot.sliders.values["temperature"]) == (0.8, 1.5)
        assert cold.bars.view["rows"][0]["bars"][0] == hot.bars.view["rows"][0]["bars"][0]
        assert cold.bars.view["rows"][0]["bars"][-1] != hot.bars.view["rows"][0]["bars"][-1]

    def test_both_are_played_with_the_same_random_numbers_each_to_its_end(self, comparison, monkeypatch):
        monkeypatch.setattr("phi_magic.widgets.explorer._PACE", 0)
        press(comparison, "Play")
        for column, temperature in zip(comparison.columns, (0.8, 1.5), strict=True):
            alone = Phi(model="demo", seed=3, temperature=temperature)(HAIKU)
            assert [token.id for token in column.walk.path] == [token.id for token in alone.tokens]
            assert f"ends the answer ({column.title})" in comparison.status.widget.value

    def test_a_taken_token_and_a_step_back_are_those_of_both(self, comparison):
        token = comparison.columns[1].bars.view["rows"][4]["id"]
        comparison._heard(comparison.columns[1].bars, {"take": token}, [])
        comparison.wait()
        assert [[one.id for one in column.walk.path] for column in comparison.columns] == [[token], [token]]
        press(comparison, "Back")
        assert [column.walk.at for column in comparison.columns] == [0, 0]

    def test_its_saved_state_has_both(self, comparison):
        for text in comparison._state().values():
            assert "temperature 0.8" in text
            assert "temperature 1.5" in text


class TestReply:
    def test_it_begins_where_an_answer_was_written_with_its_settings(self, reply):
        explorer = begun(Explorer.of(reply))
        assert explorer.at == 0
        assert column(explorer).sliders.values["temperature"] == 0.9
        assert [row["id"] for row in shown(explorer)["rows"] if row["taken"]] == [reply.tokens[0].id]
        kept = walk(explorer).stages.kept[reply.tokens[0].id]
        assert kept == pytest.approx(reply.tokens[0].probability, rel=1e-4)


class TestSaved:
    def test_without_a_kernel_its_state_reads(self, explorer):
        column(explorer).sliders.move("top_p", 0.3)
        press(explorer, "Likeliest")
        state = explorer._state()
        for form in ("text/html", "text/plain"):
            assert "cut by top-p" in state[form]
            assert "mass left" in state[form]
            assert "others" in state[form]
            assert HAIKU in state[form]
            assert "bits" in state[form] or form == "text/plain"
        assert "<script" not in state["text/html"]

    def test_what_a_prompt_says_is_text(self, explorer):
        explorer.prompt.value = "<img src=x onerror=alert(1)>"
        begun(explorer)
        assert "<img" not in explorer._state()["text/html"]


class TestMagic:
    @pytest.fixture
    def notebook(self, shell, monkeypatch):
        """A shell that is a notebook's, and the explorers that were shown in it."""
        opened = shell.explorers = []
        monkeypatch.setattr("phi_magic.widgets.saved.Saved.show", lambda saved: opened.append(saved._close.__self__))
        shell.kernel = None
        shell.run_line_magic("load_ext", "phi_magic")
        shell.run_line_magic("config", "Phi.model = 'demo'")
        yield shell
        del shell.kernel

    def refused(self, notebook, line):
        result = notebook.run_cell(f"%phi_explore {line}")
        return str(result.error_in_exec)

    def test_an_option_that_it_lacks_suggests_no_other_of_one_letter(self, notebook):
        told = self.refused(notebook, "-f tokens x")
        assert "there is no option -f" in told
        assert "did you mean" not in told

    def test_two_settings_and_options_for_both_are_taken(self, notebook):
        line = f'-s "Be brief." --compare "-t 0.8" "-t 1.5 --top-p 0.9" --seed 5 {HAIKU}'
        notebook.run_line_magic("phi_explore", line)
        [explorer] = notebook.explorers
        assert explorer.prompt.value == HAIKU
        assert [(one.title, one.walk.settings.temperature, one.walk.settings.top_p) for one in explorer.columns] == [
            ("-t 0.8", 0.8, 0.95),
            ("-t 1.5 --top-p 0.9", 1.5, 0.9),
        ]
        assert {(one.walk.settings.seed, one.walk.settings.system) for one in explorer.columns} == {(5, "Be brief.")}

    @pytest.mark.parametrize(
        "line",
        [
            f'--compare "-t 0.8" {HAIKU}',
            f'--compare "-t 0.8" "-t 0.8" {HAIKU}',
            '--compare "-t 0.8',
            "--compare",
        ],
    )
    def test_less_than_two_settings_are_refused_with_an_example(self, notebook, line):
        assert '--compare "-t 0.8" "-t 1.5 --top-p 0.9"' in self.refused(notebook, line)

    @pytest.mark.parametrize("side", ["-m phi-2", "--seed 4", "-t 1 warm"])
    def test_what_both_share_cannot_differ(self, notebook, side):
        assert "sampling parameters alone" in self.refused(notebook, f'--compare "-t 0.8" "{side}" {HAIKU}')
