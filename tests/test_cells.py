"""Widgets and the cells that show them, in a shell that stands for a kernel's."""

from __future__ import annotations

import gc
import weakref

import pytest
from ipywidgets.widgets.widget import _instances as open_widgets

from phi_magic import Phi
from phi_magic.widgets import cells
from phi_magic.widgets.sliders import Sliders

HAIKU = "Write a haiku about ice hockey"
SHOWING = {
    "panel": f"%phi_panel {HAIKU}",
    "explorer": f"%phi_explore -m demo {HAIKU}",
    "tokens": f"%%phi -m demo -n 3 -f tokens\n{HAIKU}",
    "tokens of a reply": "reply.show_tokens()",
    "explorer of a reply": "reply.explore()",
}


@pytest.fixture
def run(shell, monkeypatch):
    """A function that runs a cell as a front end does, which says each time which cell it is, or does not."""
    message = {}
    monkeypatch.setattr(shell, "get_parent", lambda: message, raising=False)
    monkeypatch.setattr(shell, "kernel", None, raising=False)
    runs = iter(range(100))

    def run(code, cell):
        metadata = {"cellId": cell} if cell else {}
        message.update({"header": {"msg_id": f"run {next(runs)}"}, "metadata": metadata})
        shell.run_cell(code).raise_error()

    run("%load_ext phi_magic\n%config Phi.model = 'demo'", "setup")
    shell.user_ns["reply"] = Phi(model="demo", seed=1)(HAIKU, top_logprobs=3, max_tokens=3)
    return run


@pytest.fixture
def opened():
    """How many widgets there are more than at the test's start."""
    gc.collect()
    before = set(open_widgets)
    return lambda: len(set(open_widgets) - before)


@pytest.mark.parametrize("code", SHOWING.values(), ids=SHOWING.keys())
def test_a_cell_that_is_run_again_gives_up_its_widgets(run, opened, code):
    run(code, "a")
    count = opened()
    assert count
    for _ in range(3):
        run(code, "a")
        assert opened() == count


def test_another_cell_keeps_its_own_and_so_does_each_where_cells_have_no_names(run, opened):
    run("reply.show_tokens()", "a")
    count = opened()
    run("reply.show_tokens()", "b")
    assert opened() == 2 * count
    for _ in range(2):
        run("reply.show_tokens()", None)
    assert opened() == 4 * count


def test_one_cell_may_show_several(run, opened):
    run("reply.show_tokens()", "a")
    count = opened()
    for _ in range(2):
        run("reply.show_tokens(); reply.show_tokens()", "a")
        assert opened() == 2 * count


def test_closed_by_hand_and_run_again(run, opened):
    from phi_magic.widgets.panel import Panel

    panels, real = [], Panel.__init__
    for times in (1, 2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Panel, "__init__", lambda self, *a, **o: panels.append(self) or real(self, *a, **o))
            run("%phi_panel", "a")
        panels[-1].away.click()
        assert opened() == 0
        assert len(panels) == times


def test_unloading_the_extension_closes_them_all(run, opened):
    for cell, code in SHOWING.items():
        run(code, cell)
    run("%unload_ext phi_magic", "last")
    assert opened() == 0


@pytest.mark.parametrize("kind", ["panel", "explorer", "tokens"])
def test_nothing_of_a_closed_widget_stays_in_memory(run, kind):
    from phi_magic.widgets.explorer import Explorer
    from phi_magic.widgets.panel import Panel
    from phi_magic.widgets.token_view import TokenView

    phi = Phi(model="demo", seed=1, max_tokens=3)
    reply = phi(HAIKU, top_logprobs=3)
    made = {"panel": lambda: Panel(phi), "explorer": lambda: Explorer(phi, HAIKU), "tokens": lambda: TokenView(reply)}
    widget = made[kind]()
    widget.saved.show()
    seen = weakref.ref(widget)
    widget.close()
    del widget
    gc.collect()
    assert seen() is None


def test_a_widget_that_fails_to_close_keeps_no_other_open(run):
    closed = []
    cells.keep(lambda: closed.append(1))
    cells.keep(lambda: 1 / 0)
    cells.keep(lambda: closed.append(2))
    with pytest.raises(ZeroDivisionError):
        cells.close_all()
    assert sorted(closed) == [1, 2]


def test_sliders_may_be_closed_twice():
    sliders = Sliders(Phi(), ["temperature"])
    sliders.close()
    sliders.close()
