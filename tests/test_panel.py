"""The panel as ipywidgets has it, without a browser."""

from __future__ import annotations

import time

import pytest
from ipywidgets.widgets.widget import _instances as open_widgets

from phi_magic import Phi
from phi_magic.engine import runtime
from phi_magic.engine.engine import Engine
from phi_magic.generation.backend import Step
from phi_magic.models.files import names
from phi_magic.settings import grouped
from phi_magic.widgets.panel import Panel
from tests.fake_backend import FakeBackend

HAIKU = "Write a haiku about ice hockey"


@pytest.fixture
def phi():
    return Phi(model="demo", seed=3)


@pytest.fixture
def open_panel():
    panels = []

    def open_panel(phi, *arguments, **options):
        panels.append(Panel(phi, *arguments, **options))
        return panels[-1]

    yield open_panel
    for panel in panels:
        panel.end()
        panel.wait()


@pytest.fixture
def panel(phi, open_panel):
    return open_panel(phi, HAIKU)


def until(condition):
    """Wait for it; half a minute is a bound on hanging, not on speed."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def observers(phi):
    """Who is told of which trait, counted."""
    return {name: sum(map(len, kinds.values())) for name, kinds in phi._trait_notifiers.items() if any(kinds.values())}


def answered(panel):
    panel.ask()
    panel.wait()
    return panel


def chosen(panel, name, text):
    """What arrives from the page when a person types a number, or drags a slider to it."""
    number = panel.sliders.moved.get(name, {"number": 0})["number"] + 1
    panel.sliders.set_state({"moved": {**panel.sliders.moved, name: {"value": text, "number": number}}})


class TestLinked:
    def test_a_slider_sets_the_trait(self, phi, panel):
        chosen(panel, "temperature", "1.35")
        chosen(panel, "top_k", "12")
        assert (phi.temperature, phi.top_k) == (1.35, 12)

    def test_a_trait_moves_the_slider_and_that_of_every_other_panel(self, phi, panel, open_panel):
        other = open_panel(phi)
        phi.top_p = 0.5
        assert panel.sliders.values["top_p"] == other.sliders.values["top_p"] == 0.5
        chosen(other, "top_p", "0.25")
        assert panel.sliders.values["top_p"] == phi.top_p == 0.25

    def test_model_and_system_message_too(self, phi, panel):
        panel.model.value = "phi-2"
        phi.system = "Be brief."
        assert (phi.model, panel.system.value) == ("phi-2", "Be brief.")

    def test_ranges_steps_and_help_are_the_traits_own(self, phi, panel):
        assert [row["name"] for row in panel.sliders.rows] == [*grouped("sampling"), "max_tokens"]
        for row in panel.sliders.rows:
            trait = phi.traits()[row["name"]]
            assert row["step"] == trait.metadata["step"]
            assert trait.min <= row["min"] < row["max"] <= trait.max
            assert trait.help in row["help"]

    @pytest.mark.parametrize(
        ("name", "value"), [("temperature", 4.5), ("temperature", 0.123456789), ("repeat_penalty", 0.1)]
    )
    def test_opening_a_panel_changes_no_setting_wherever_it_stands(self, name, value, open_panel):
        phi = Phi(model="demo", **{name: value})
        panel = open_panel(phi)
        assert panel.sliders.values[name] == getattr(phi, name) == value
        setattr(phi, name, 0.5)
        setattr(phi, name, value)
        assert panel.sliders.values[name] == getattr(phi, name) == value

    @pytest.mark.parametrize("text", ["0.77", "4.9", "0.123456789"])
    def test_what_is_typed_is_what_is_set_beyond_the_range_and_between_two_steps(self, phi, panel, text):
        chosen(panel, "temperature", text)
        assert phi.temperature == panel.sliders.values["temperature"] == float(text)

    @pytest.mark.parametrize("text", ["5.1", "warm", ""])
    def test_what_a_trait_does_not_take_is_said_and_the_field_goes_back(self, phi, panel, text):
        chosen(panel, "temperature", text)
        assert phi.temperature == 0.8
        assert f"temperature must be a number from 0 to 5, not &#x27;{text}&#x27;" in panel.status.widget.value
        assert panel.sliders.heard == panel.sliders.moved

    def test_a_move_that_was_heard_is_not_made_again(self, phi, panel):
        chosen(panel, "temperature", "1.5")
        phi.temperature = 0.3
        chosen(panel, "top_k", "5")
        assert (phi.temperature, phi.top_k) == (0.3, 5)

    def test_every_known_and_cached_model_is_offered(self, panel):
        assert {"demo", "phi-3-mini-4k"} <= set(panel.model.options)
        assert list(panel.model.options) == names()

    def test_reset_gives_every_setting_its_configured_value_back(self, config, shell, open_panel):
        shell.config.Phi.temperature = 0.3
        panel = open_panel(Phi(parent=shell))
        chosen(panel, "temperature", "1.9")
        chosen(panel, "top_p", "0.1")
        panel.seed.roll()
        panel.reset.click()
        assert (panel.phi.temperature, panel.phi.top_p, panel.phi.seed) == (0.3, 0.95, None)
        assert panel.sliders.values["temperature"] == 0.3
        assert "%config" in panel.reset.tooltip

    def test_defaults_go_behind_the_configuration(self, config, shell, open_panel):
        shell.config.Phi.temperature = 3.0
        panel = open_panel(Phi(parent=shell, model="demo", seed=4, max_tokens=9))
        panel.reset.click()
        assert panel.phi.temperature == 3
        panel.phi.model = "demo"
        panel.defaults.click()
        assert (panel.phi.temperature, panel.phi.seed, panel.phi.max_tokens) == (0.8, None, 512)
        assert panel.phi.model == "demo"

    def test_closing_leaves_no_observer_and_no_widget_behind(self, open_panel):
        phi = Phi(model="demo")
        before, widgets = observers(phi), set(open_widgets)
        panel = open_panel(phi, HAIKU)
        answered(panel)
        panel.close()
        assert observers(phi) == before
        assert set(open_widgets) == widgets
        phi.temperature = 1.0


class TestSeed:
    def test_the_lock_keeps_the_seed_that_is_shown(self, open_panel):
        phi = Phi(model="demo")
        panel = answered(open_panel(phi, HAIKU))
        drawn = panel.seed.field.value
        assert phi.seed is None
        assert f"seed {drawn}" in panel.status.widget.value
        panel.seed.lock.value = True
        assert phi.seed == drawn
        first = panel.answer.value
        assert answered(panel).answer.value == first
        panel.seed.lock.value = False
        assert phi.seed is None

    def test_the_die_draws_another_and_keeps_it(self, phi, panel):
        panel.seed.die.click()
        assert phi.seed not in (3, None)
        assert panel.seed.field.value == phi.seed
        assert panel.seed.lock.value

    def test_a_seed_out_of_bounds_is_refused(self, phi, panel):
        panel.seed.field.value = 2**32
        assert (phi.seed, panel.seed.field.value) == (3, 3)
        assert "seed must be a whole number from 0 to 4,294,967,294" in panel.status.widget.value

    def test_config_locks_and_unlocks(self, phi, panel):
        phi.seed = None
        assert not panel.seed.lock.value
        phi.seed = 11
        assert (panel.seed.lock.value, panel.seed.field.value) == (True, 11)


class TestAnswer:
    def test_it_is_the_one_that_a_call_gives(self, phi, panel):
        panel.generate.click()
        panel.wait()
        text = phi(HAIKU).text
        assert all(line in panel.answer.value for line in text.split("\n"))
        assert "tokens/s · " in panel.status.widget.value
        assert "seed 3 · stop" in panel.status.widget.value
        assert (panel.generate.disabled, panel.stop.disabled) == (False, True)

    def test_it_grows_in_steps(self, phi, panel):
        phi.refresh_interval = 0
        seen = []
        panel.answer.observe(lambda change: seen.append(change["new"]), "value")
        answered(panel)
        assert len(seen) >= 3
        assert [len(one) for one in seen[1:]] == sorted(len(one) for one in seen[1:])

    def test_its_cell_gives_the_same_answer_though_sliders_moved_since(self, shell, open_panel):
        shell.run_line_magic("load_ext", "phi_magic")
        [phi] = [one for one in shell.configurables if isinstance(one, Phi)]
        phi.model = "demo"
        panel = answered(open_panel(phi, HAIKU))
        text = phi.last.text
        phi.temperature, phi.top_k, phi.max_tokens = 2.0, 3, 1
        shell.run_cell(panel.cell.text.replace("%%phi", "%%phi -q -o again", 1)).raise_error()
        assert shell.user_ns["again"].text == text

    def test_its_cell_says_what_differs_from_the_defaults_and_with_a_switch_everything(self, phi, panel):
        phi.top_k = 40
        answered(panel)
        assert panel.cell.text.split("\n")[0] == "%%phi -m demo --top-k 40 --seed 3"
        panel.cell.everything = True
        assert "-t 0.8 --top-p 0.95 --top-k 40" in panel.cell.text
        panel.cell.everything = False
        phi.temperature = 1.5  # whoever runs the cell has this setting now
        assert "-t 0.8" in panel.cell.text

    def test_it_is_marked_as_old_while_a_setting_is_another(self, phi, panel):
        answered(panel)
        assert "old answer" not in panel.age.widget.value
        phi.temperature = 1.5
        assert "An old answer: temperature (0.8 → 1.5) changed since." in panel.age.widget.value
        assert "opacity" in panel.answer.value
        phi.temperature = 0.8
        assert "old answer" not in panel.age.widget.value
        panel.prompt.value = "Write about tea"
        assert "An old answer: prompt changed since." in panel.age.widget.value
        answered(panel)
        assert "old answer" not in panel.age.widget.value
        assert "opacity" not in panel.answer.value

    def test_without_a_seed_of_ones_own_the_next_draw_makes_no_answer_old(self, open_panel):
        panel = answered(open_panel(Phi(model="demo"), HAIKU))
        assert "old answer" not in panel.age.widget.value

    def test_a_failed_one_is_kept_as_what_went_wrong(self, phi, panel):
        panel.model.value = "no-such-model"
        answered(panel)
        state = panel._state()
        for form in ("text/html", "text/plain"):
            assert "no-such-model" in state[form]
            assert "0 tokens" not in state[form]
            assert "interrupted" not in state[form]
            assert "%%phi" not in state[form]

    def test_without_variables_braces_are_text_and_the_cell_says_so(self, phi, open_panel):
        panel = answered(open_panel(phi, "About {{ topic }}"))
        assert phi.last.prompt == "About {{ topic }}"
        assert "--no-vars" in panel.cell.text

    def test_the_prompt_is_filled_in_as_a_cells_is_and_stays_so_in_the_cell(self, phi, open_panel):
        panel = answered(open_panel(phi, "About {{ topic }}", fill=lambda text: text.replace("{{ topic }}", "the sea")))
        assert phi.last.prompt == "About the sea"
        assert panel.cell.text.endswith("About {{ topic }}")

    def test_a_mistake_is_shown_in_the_panel(self, phi, panel):
        panel.prompt.value = "  "
        panel.ask()
        assert "the prompt is empty" in panel.status.widget.value
        panel.prompt.value = HAIKU
        panel.model.value = "no-such-model"
        answered(panel)
        assert "no-such-model" in panel.status.widget.value
        assert not panel.generate.disabled
        phi.model = "demo"
        assert "seed 3" in answered(panel).status.widget.value

    def test_what_a_prompt_or_an_error_says_is_text(self, phi, panel):
        panel.prompt.value = "<img src=x onerror=alert(1)>"
        panel.model.value = "<script>alert(1)</script>"
        answered(panel)
        state = panel._state()["text/html"]
        assert "<script>" not in panel.status.widget.value + state
        assert "<img" not in state

    def test_without_a_kernel_its_state_reads(self, panel):
        answered(panel)
        state = panel._state()
        for form in ("text/html", "text/plain"):
            assert HAIKU in state[form]
            assert "temperature" in state[form]
            assert "seed 3 · stop" in state[form]
            assert "%%phi -m demo" in state[form]
        assert "<script" not in state["text/html"]


class TestStop:
    @pytest.fixture
    def slow(self, slow_model, open_panel):
        return open_panel(Phi(model=str(slow_model), max_tokens=2000, n_threads=1), HAIKU)

    def stop(self, panel):
        panel.stop.click()
        panel.wait()

    def test_while_an_answer_is_written(self, slow):
        slow.ask()
        until(lambda: slow._stream.reply.text)
        self.stop(slow)
        assert "interrupted" in slow.status.widget.value
        assert slow.cell.text

    def test_while_the_model_is_loaded(self, slow, monkeypatch):
        slow.phi.backend = Engine()
        seen = []

        def as_slow_as_a_disk(*arguments):
            return lambda fraction: seen.append(fraction) or time.sleep(0.05)

        monkeypatch.setattr(runtime, "_loading", as_slow_as_a_disk)
        slow.ask()
        until(lambda: len(seen) > 2)
        self.stop(slow)
        assert max(seen) < 1
        assert "0 tokens · seed" in slow.status.widget.value
        assert "interrupted" in slow.status.widget.value
        assert not slow.generate.disabled

    def test_while_another_answer_is_waited_for(self, slow):
        other = slow.phi.stream(HAIKU)
        next(other)
        slow.ask()
        until(lambda: "waiting for another answer" in slow.status.widget.value)
        self.stop(slow)
        other.close()
        assert "interrupted" in slow.status.widget.value

    def test_while_the_prompt_is_read(self, slow):
        slow.prompt.value = "the puck glides " * 200
        slow.phi.backend = engine = Engine()
        slow.ask()
        until(lambda: engine.context and engine.context.size > 3000)  # its KV cache is made
        time.sleep(0.1)
        self.stop(slow)
        assert "0 tokens" in slow.status.widget.value

    def test_a_second_ask_waits_for_no_one(self, slow):
        slow.ask()
        first = slow._stream
        slow.ask()
        assert slow._stream is first
        self.stop(slow)


class TestMagic:
    @pytest.fixture
    def notebook(self, shell, monkeypatch):
        """A shell that is a notebook's, and the panels that were shown in it."""
        opened = []
        monkeypatch.setattr("phi_magic.widgets.saved.Saved.show", lambda saved: opened.append(saved._close.__self__))
        shell.kernel = None
        shell.run_line_magic("load_ext", "phi_magic")
        shell.panels = opened
        yield shell
        del shell.kernel

    def test_without_options_the_sliders_are_the_shells_own(self, notebook):
        notebook.run_line_magic("phi_panel", HAIKU)
        [panel] = notebook.panels
        assert panel.prompt.value == HAIKU
        notebook.run_line_magic("config", "Phi.temperature = 1.25")
        assert panel.sliders.values["temperature"] == 1.25

    def test_options_are_taken_and_change_no_other_cell(self, notebook):
        notebook.run_line_magic("phi_panel", f"--temperature 3 -m demo {HAIKU}")
        [panel] = notebook.panels
        assert (panel.phi.temperature, panel.phi.model, panel.prompt.value) == (3, "demo", HAIKU)
        [phi] = [one for one in notebook.configurables if isinstance(one, Phi)]
        assert phi.temperature == 0.8

    def test_it_has_the_switch_that_an_error_in_the_prompt_advises(self, notebook):
        notebook.run_line_magic("phi_panel", "-m demo About {{ nothing }}")
        notebook.run_line_magic("phi_panel", "-m demo --no-vars About {{ nothing }}")
        filled, plain = map(answered, notebook.panels)
        assert "--no-vars" in filled.status.widget.value
        assert plain.reply.prompt == "About {{ nothing }}"


def test_thoughts_can_be_read_while_they_grow_and_are_folded_above_the_answer(phi, open_panel):
    seen = []

    def answer():
        yield Step(reasoning="Hm, five.", thoughts=3)
        seen.append(panel.answer.value)
        yield "Five."

    phi.backend, phi.refresh_interval = FakeBackend(answer()), 0.0
    panel = open_panel(phi, "How many?")
    answered(panel)
    for shown in (*seen, panel.answer.value, panel._state()["text/html"]):
        assert ("<details open>" if shown in seen else "<details><summary") in shown
        assert "Hm, five." in shown
        assert "thought for 3 tokens" in shown
    assert "Five." not in seen[0]
    assert "Five." in panel.answer.value
    assert "Hm" not in panel._state()["text/plain"]
