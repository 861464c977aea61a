"""``%phi_explore``: what each sampling parameter does to the next token, step by step through an answer."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets

from ..draws import random_number
from ..errors import PhiError
from ..generation.plan import Plan
from ..interrupt import Stop
from ..phi import Phi
from ..rendering import escape, to_text
from ..reply import Alternative, Message, Reply
from ..settings import RECORDED_TRAITS, SEED_MAX
from ..walk import PARAMETERS, Walk
from .controls import FULL, ROW, StatusLine, button, close
from .explorer_column import ExplorerColumn
from .labels import Labels
from .saved import Saved
from .seed import SeedControl
from .thread import WidgetThread

_MOMENT = 2.0  # seconds that a cell waits for the first bars
_PACE = 0.4  # seconds between two tokens when it plays, so that the eye can follow


class Explorer:
    """Steps through an answer, or through the answers to one prompt with two settings side by side.

    The settings are the explorer's own: they begin as the given ones are, and change nothing but what is seen here. All
    columns stand at the same step, and draw with the same random numbers: those of an answer with the seed that is shown.

    Args:
        settings: what each column begins with, by its title; a single ``Phi`` needs no title.
        prompt: a question, or a conversation that ends with one.
        path: tokens that were written already; the explorer begins before the first of them.
        raw: the prompt goes without the chat template.
        plan: how to run the model; what suits this machine where left out.
    """

    def __init__(
        self,
        settings: Phi | dict[str, Phi],
        prompt: str | Sequence[Message] = "",
        *,
        path: Sequence[Alternative] = (),
        raw: bool = False,
        plan: Plan | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.redraw_seconds = 0.0  #: what the last redraw took
        self._clock = clock
        self._drawn_seed = 0
        self.status = StatusLine()
        self._thread = WidgetThread(on_error=self.status.fail, on_end=self._ended)
        named = {"": settings} if isinstance(settings, Phi) else settings
        self.columns = [
            ExplorerColumn(
                Walk(Phi(**phi.settings({})), prompt, path=path, raw=raw, plan=plan), title, on_refused=self.status.fail
            )
            for title, phi in named.items()
        ]
        self.settings = self.columns[0].walk.settings  #: whose seed is that of all columns
        self._make(self.columns[0].walk.question)
        for column in self.columns:
            column.walk.settings.observe(lambda _: self.redraw(), PARAMETERS)
        self.settings.observe(lambda _: self._stand(), "seed")
        self.saved = Saved(self.widget, self._state, self.close)

    @classmethod
    def of(cls, reply: Reply) -> Explorer:
        """Make an explorer where ``reply`` was written, with its settings and its tokens ahead."""
        params = {name: reply.params[name] for name in RECORDED_TRAITS if name in reply.params}
        named = all(token.id >= 0 for token in reply.tokens)  # a server may tell their texts alone
        messages: list[Message] = [*reply.messages, {"role": "user", "content": reply.prompt}]
        return cls(
            Phi(model=reply.model, seed=reply.seed, **params),
            messages,
            path=reply.tokens if named else (),
            raw=bool(reply.params.get("raw")),
            plan=Plan.of(reply.engine),
        )

    @property
    def seed(self) -> int:
        """The seed that the draws come from."""
        return self._drawn_seed if self.settings.seed is None else int(self.settings.seed)

    @property
    def at(self) -> int:
        """The step; a column whose answer ended earlier stands at its end."""
        return max(column.walk.at for column in self.columns)

    def show(self) -> None:
        """Show it below the running cell, and begin where there is a prompt, or an answer without one.

        The cell waits a moment for the bars: a notebook that runs without a page keeps only what is there by its end.
        """
        self.saved.show()
        if self.prompt.value or self.columns[0].walk.path:
            self.begin()
            self.wait(_MOMENT)

    def begin(self) -> None:
        """Ask the prompt in the field, from the start."""
        self._work(self._ask)

    def go(self, at: int) -> None:
        """Go to the step before the path's token ``at``; its length is the end."""
        self._work(lambda stop: self._go(max(0, at), stop))

    def take(self, token: int) -> None:
        """Write this token next, in every column."""
        self._work(lambda stop: self._step(lambda _: token, stop))

    def draw(self) -> None:
        """Take the token that an answer with this seed and these settings has here."""
        self._work(lambda stop: self._step(self._drawn, stop))

    def likeliest(self) -> None:
        """Take the likeliest token after the penalty."""
        self._work(lambda stop: self._step(Walk.likeliest, stop))

    def play(self) -> None:
        """Draw until the answer ends, or :meth:`end` is called."""

        def work(stop: Stop) -> None:
            while self._step(self._drawn, stop):
                due = self._clock() + _PACE
                while self._clock() < due:
                    stop.check()
                    time.sleep(0.02)

        self._work(work)

    def end(self) -> None:
        """Stop playing, or waiting for logits."""
        self._thread.stop()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until nothing is under way, so long at most."""
        self._thread.wait(seconds)

    def close(self) -> None:
        """Stop, and take the explorer away; the saved state stays."""
        if self.widget.comm is None:  # closed before
            return
        self.end()
        self.seeds.close()
        close(self.widget)
        self.saved.closed()

    def redraw(self) -> None:
        """Draw the bars again from the kept logits; nothing is decoded."""
        started = self._clock()
        for column in self.columns:
            column.redraw()
        self.redraw_seconds = self._clock() - started
        self.saved.update()

    def _make(self, prompt: str) -> None:
        self.prompt = ipywidgets.Textarea(
            prompt, rows=1, description="prompt", tooltip="What to ask; Ctrl+Enter starts", **FULL
        )
        self.prompt.observe(self._edited, "value")
        self.seeds = SeedControl(self.settings, on_refused=self.status.fail)
        for column in self.columns:
            column.bars.on_msg(self._heard)
        steps = {
            "Start": ("refresh", "Ask the prompt, from the first token on", self.begin),
            "Back": ("step-backward", "Go back by one token", lambda: self.go(self.at - 1)),
            "Forward": ("step-forward", "Go on by one token of what is written", lambda: self.go(self.at + 1)),
            "Draw": ("random", "Draw the next token, as %%phi does with this seed", self.draw),
            "Likeliest": ("arrow-up", "Take the likeliest token", self.likeliest),
            "Play": ("play", "Draw until the answer ends", self.play),
            "Stop": ("stop", "Stop playing", self.end),
        }
        self.buttons = {text: button(text, *rest) for text, rest in steps.items()}
        self.widget = ipywidgets.VBox(
            [
                self.prompt,
                self.seeds.widget,
                ipywidgets.Box(list(self.buttons.values()), **ROW),
                self.status.widget,
                ipywidgets.Box(
                    [column.widget for column in self.columns], layout={"flex_flow": "row wrap", "grid_gap": "24px"}
                ),
                Labels(self.begin, {self.prompt.description: self.prompt.tooltip}),
            ],
            layout={"max_width": "80em"},
        )
        self._allow()

    def _heard(self, widget: Any, content: dict[str, Any], buffers: Any) -> None:
        if isinstance(token := content.get("take"), int):
            self.take(token)
        elif isinstance(at := content.get("go"), int):
            self.go(at)

    def _edited(self, change: Any) -> None:
        if self._unasked:
            self.status.say("the prompt was edited: the next step asks it, from the start")
        self._allow()

    @property
    def _unasked(self) -> bool:
        """Whether the prompt in the field is not the one that the bars are of."""
        walk = self.columns[0].walk
        return walk.position is None or self.prompt.value != walk.question

    def _work(self, work: Callable[[Stop], Any]) -> None:
        if not self._thread.busy:
            self._busy(True)
            self._thread.start(work)
            self._allow()

    def _ask(self, stop: Stop) -> None:
        if self.settings.seed is None:
            self._drawn_seed = secrets.randbelow(SEED_MAX + 1)
            self.seeds.show(self._drawn_seed)
        for column in self.columns:
            column.walk.ask(self.prompt.value)
        self._go(0, stop)

    def _go(self, at: int, stop: Stop) -> None:
        for column in self.columns:
            column.ended = ""
            column.walk.go(at, stop, on_status=self.status.say)
        self._stand()

    def _step(self, choose: Callable[[Walk], int], stop: Stop) -> bool:
        """Take one token in each column, and say whether an answer goes on."""
        if self._unasked:
            self._ask(stop)
        for column in self.columns:
            column.step(choose, stop)
        self._stand()
        return not all(column.ended for column in self.columns)

    def _drawn(self, walk: Walk) -> int:
        return walk.drawn(self.seed)

    def _stand(self) -> None:
        """Show where the explorer stands now."""
        position = self.columns[0].walk.position
        if position is None:
            return
        at, length = self.at, max(len(column.walk.path) for column in self.columns)
        ends = [
            f"{column.ended} ends the answer" + f" ({column.title})" * bool(column.title)
            for column in self.columns
            if column.ended
        ]
        if position.told is not None:
            ends.append(f"the server tells the {position.told:,} likeliest tokens")
        number = f"random number {random_number(self.seed, at):.4f}"
        self.status.say(" · ".join([f"step {at + 1}" + f" of {length}" * (at < length), number, *ends]))
        self.redraw()

    def _ended(self) -> None:
        self._busy(False)
        self._allow()

    def _busy(self, busy: bool) -> None:
        for column in self.columns:
            column.bars.busy = busy

    def _allow(self) -> None:
        """Offer only what can be done now."""
        busy, asked = self._thread.busy, bool(self.prompt.value.strip())
        can = {
            "Back": any(column.walk.at > 0 for column in self.columns),
            "Forward": any(column.walk.ahead is not None for column in self.columns),
        }
        for name, one in self.buttons.items():
            one.disabled = not busy if name == "Stop" else busy or not can.get(name, asked)

    def _state(self) -> dict[str, str]:
        """What the explorer shows, for a page without a kernel."""
        states = [column.state() for column in self.columns]
        prompt = f"prompt: {self.columns[0].walk.question}"
        page = f"<p>The explorer as it was left; run its cell again to use it.</p><p>{escape(prompt)}</p>"
        return {
            "text/html": page + "".join(state["text/html"] for state in states),
            "text/plain": "\n\n".join([to_text(prompt), *(state["text/plain"] for state in states)]),
        }


def show(reply: Reply) -> None:
    """Open an explorer on a reply.

    Raises:
        PhiError: outside of a notebook.
    """
    from IPython.core.getipython import get_ipython

    if not hasattr(get_ipython(), "kernel"):
        raise PhiError("explore() needs a notebook; phi_magic.distribution gives the figures anywhere")
    Explorer.of(reply).show()
