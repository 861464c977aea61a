"""The panel as ipywidgets has it, without a browser."""

from __future__ import annotations

import time

import pytest
from ipywidgets.widgets.widget import _instances as open_widgets

from phi_magic import Phi
from phi_magic.engine import engine as engines
from phi_magic.engine.engine import Engine
from phi_magic.widgets.panel import Panel

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


class TestLinked:
    def test_a_slider_sets_the_trait(self, phi, panel):
        panel.sliders["temperature"].value = 1.35
        panel.sliders["top_k"].value = 12
        assert (phi.temperature, phi.top_k) == (1.35, 12)

    def test_a_trait_moves_the_slider_and_that_of_every_other_panel(self, phi, panel, open_panel):
        other = open_panel(phi)
        phi.top_p = 0.5
        assert panel.sliders["top_p"].value == other.sliders["top_p"].value == 0.5
        other.sliders["top_p"].value = 0.25
        assert panel.sliders["top_p"].value == phi.top_p == 0.25

    def test_model_and_system_message_too(self, phi, panel):
        panel.model.value = "phi-2"
        phi.system = "Be brief."
        assert (phi.model, panel.system.value) == ("phi-2", "Be brief.")

    def test_ranges_steps_and_help_are_the_traits_own(self, phi, panel):
        for name, slider in panel.sliders.items():
            trait = phi.traits()[name]
            assert slider.step == trait.metadata["step"]
            assert trait.min <= slider.min < slider.max <= trait.max
            assert trait.help in slider.tooltip

    def test_a_value_beyond_the_shown_range_is_shown_all_the_same(self, phi, panel):
        phi.temperature = 4.5
        assert panel.sliders["temperature"].value == 4.5
        assert phi.temperature == 4.5

    def test_a_value_between_two_steps_stays_what_it_is(self, phi, panel):
        phi.temperature = 0.123456789
        assert phi.temperature == 0.123456789

    def test_reset_gives_every_setting_its_configured_value_back(self, config, shell, open_panel):
        shell.config.Phi.temperature = 0.3
        panel = open_panel(Phi(parent=shell))
        panel.sliders["temperature"].value = 1.9
        panel.sliders["top_p"].value = 0.1
        panel.seed.roll()
        panel.restore()
        assert (panel.phi.temperature, panel.phi.top_p, panel.phi.seed) == (0.3, 0.95, None)
        assert panel.sliders["temperature"].value == 0.3

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
        assert f"seed {drawn}" in panel.status.value
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
        assert "tokens/s · " in panel.status.value
        assert "seed 3 · stop" in panel.status.value
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
        shell.run_cell(panel.cell.value.replace("%%phi", "%%phi -q -o again", 1)).raise_error()
        assert shell.user_ns["again"].text == text

    def test_the_prompt_is_filled_in_as_a_cells_is_and_stays_so_in_the_cell(self, phi, open_panel):
        panel = answered(open_panel(phi, "About {{ topic }}", fill=lambda text: text.replace("{{ topic }}", "the sea")))
        assert phi.last.prompt == "About the sea"
        assert panel.cell.value.endswith("About {{ topic }}")

    def test_a_mistake_is_told_in_the_panel(self, phi, panel):
        panel.prompt.value = "  "
        panel.ask()
        assert "the prompt is empty" in panel.status.value
        panel.prompt.value = HAIKU
        panel.model.value = "no-such-model"
        answered(panel)
        assert "no-such-model" in panel.status.value
        assert not panel.generate.disabled
        phi.model = "demo"
        assert "seed 3" in answered(panel).status.value

    def test_what_a_prompt_or_an_error_says_is_text(self, phi, panel):
        panel.prompt.value = "<img src=x onerror=alert(1)>"
        panel.model.value = "<script>alert(1)</script>"
        answered(panel)
        state = panel._state()["text/html"]
        assert "<script>" not in panel.status.value + state
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
        begun = time.perf_counter()
        panel.stop.click()
        panel.wait()
        return time.perf_counter() - begun

    def test_while_an_answer_is_written(self, slow):
        slow.ask()
        until(lambda: slow._stream.reply.text)
        assert self.stop(slow) < 0.25
        assert "interrupted" in slow.status.value
        assert slow.cell.value

    def test_while_the_model_is_loaded(self, slow, monkeypatch):
        slow.phi.backend = Engine()
        seen = []

        def as_slow_as_a_disk(*arguments):
            return lambda fraction: seen.append(fraction) or time.sleep(0.05)

        monkeypatch.setattr(engines, "_loading", as_slow_as_a_disk)
        slow.ask()
        until(lambda: len(seen) > 2)
        assert self.stop(slow) < 0.25
        assert max(seen) < 1
        assert "0 tokens · seed" in slow.status.value
        assert "interrupted" in slow.status.value
        assert not slow.generate.disabled

    def test_while_another_answer_is_waited_for(self, slow):
        other = slow.phi.stream(HAIKU)
        next(other)
        slow.ask()
        until(lambda: "waiting for another answer" in slow.status.value)
        assert self.stop(slow) < 0.25
        other.close()
        assert "interrupted" in slow.status.value

    def test_while_the_prompt_is_read(self, slow):
        slow.prompt.value = "the puck glides " * 200
        slow.phi.backend = engine = Engine()
        slow.ask()
        until(lambda: engine.context and engine.context.size > 3000)  # its KV cache is made
        time.sleep(0.1)
        assert self.stop(slow) < 0.25
        assert "0 tokens" in slow.status.value

    def test_a_second_ask_waits_for_no_one(self, slow):
        slow.ask()
        first = slow._stream
        slow.ask()
        assert slow._stream is first
        self.stop(slow)
