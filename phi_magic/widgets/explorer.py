"""``%phi_explore``: what each knob does to the next token, step by step through an answer."""

from __future__ import annotations

import html
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import numpy as np
import traitlets

from ..errors import PhiError
from ..generation.plan import Plan
from ..generation.position import Position
from ..interrupt import Stop
from ..phi import Phi
from ..rendering import escape, to_text
from ..reply import Message, Reply
from ..sampling import Stages, stages
from ..settings import ANSWER_TRAITS
from .bars import table, view
from .controls import FULL, Link, close, label, slider
from .labels import Labels
from .saved import Saved
from .worker import Worker

KNOBS = ("temperature", "top_p", "top_k", "min_p", "repeat_penalty", "repeat_last_n")
_KEPT = 256  # positions whose logits are kept; 128 KB each with a vocabulary of 32,000
_MOMENT = 2.0  # seconds that a cell waits for the first bars
_PACE = 0.4  # seconds between two tokens when it plays, so that the eye can follow


class Bars(anywidget.AnyWidget):
    """Draws ``view``; sends ``{"take": token id}`` and ``{"go": step}``."""

    _esm = Path(__file__).parent / "bars.js"
    _css = Path(__file__).parent / "bars.css"
    view = traitlets.Dict().tag(sync=True)
    busy = traitlets.Bool(False).tag(sync=True)


class Explorer:
    """Steps through an answer, with the logits of every step kept.

    The knobs are the explorer's own: they begin as the settings are, and change nothing but what is seen here.

    Args:
        phi: whose settings the knobs begin with.
        prompt: a question, or a conversation that ends with one.
        path: token ids that were written already; the explorer begins before the first of them.
        raw: the prompt goes without the chat template.
        plan: how to run the model; what suits this machine where left out.
    """

    def __init__(
        self,
        phi: Phi,
        prompt: str | Sequence[Message] = "",
        *,
        path: Sequence[int] = (),
        raw: bool = False,
        plan: Plan | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.knobs = Phi(**phi.settings({}))
        self.path = list(path)
        self.at = 0
        self.redraw_seconds = 0.0  #: what the last redraw took
        self._messages = prompt
        self._raw = raw
        self._plan = plan
        self._clock = clock
        self._positions: OrderedDict[tuple[int, ...], Position] = OrderedDict()
        self._stages: Stages | None = None
        self._worker = Worker(on_error=self._failed, on_end=self._ended)
        self._make(prompt if isinstance(prompt, str) else prompt[-1]["content"])
        self._links = [Link(self.knobs, name, widget) for name, widget in self.sliders.items()]
        self.knobs.observe(lambda _: self.redraw(), list(KNOBS))
        self.saved = Saved(self.widget, self._state, self.close)

    @classmethod
    def of(cls, reply: Reply) -> Explorer:
        """An explorer where ``reply`` was written, with its settings and its tokens ahead."""
        params = {name: reply.params[name] for name in (*ANSWER_TRAITS, "n_ctx") if name in reply.params}
        raw = bool(reply.params.get("raw"))
        messages: list[Message] = [*reply.messages, {"role": "user", "content": reply.prompt}]
        return cls(
            Phi(model=reply.model, seed=reply.seed, **params),
            messages,
            path=[token.id for token in reply.tokens],
            raw=raw,
            plan=Plan.of(reply.engine),
        )

    @property
    def position(self) -> Position | None:
        """Where it stands; nothing before the first logits are there."""
        return self._positions.get(tuple(self.path[: self.at]))

    def show(self) -> None:
        """Show it below the running cell, and begin where there is a prompt.

        The cell waits a moment for the bars: a notebook that runs without a page keeps only what is there by its end.
        """
        self.saved.show()
        if self.prompt.value:
            self.begin()
            self.wait(_MOMENT)

    def begin(self) -> None:
        """Ask the prompt in the field, from the start."""
        if self._worker.busy:
            return
        written = self._messages if isinstance(self._messages, str) else self._messages[-1]["content"]
        if self.prompt.value != written:
            self._messages, self._raw, self.path = self.prompt.value, False, []
        self._positions.clear()
        self.go(0)

    def go(self, at: int) -> None:
        """Go to the step before the path's token ``at``; its length is the end."""
        self._work(lambda stop: self._to(max(0, min(at, len(self.path))), stop))

    def take(self, token: int) -> None:
        """Write this token next. Another than the one that stands there begins a branch: what was ahead is dropped."""
        if (here := self.position) is not None:
            self._work(lambda stop: self._take(here, token, stop))

    def draw(self) -> None:
        """Draw the next token with the knobs as they are."""
        if (here := self.position) is not None and self._stages is not None:
            self.take(self._drawn(here, self._stages))

    def likeliest(self) -> None:
        """Take the likeliest token after the penalty."""
        if self._stages is not None:
            self.take(int(self._stages.penalised.argmax()))

    def play(self) -> None:
        """Draw until the answer ends, or :meth:`end` is called."""

        def work(stop: Stop) -> None:
            while (here := self.position) is not None and self._stages is not None:
                if not self._take(here, self._drawn(here, self._stages), stop):
                    return
                due = self._clock() + _PACE
                while self._clock() < due:
                    stop.check()
                    time.sleep(0.02)

        self._work(work)

    def end(self) -> None:
        """Stop playing, or waiting for logits."""
        self._worker.stop()

    def wait(self, seconds: float | None = None) -> None:
        """Until nothing is under way, so long at most."""
        self._worker.wait(seconds)

    def close(self) -> None:
        """Stop, and take the explorer away; the saved state stays."""
        if self.widget.comm is None:  # closed before
            return
        self.end()
        for link in self._links:
            link.close()
        close(self.widget)

    def redraw(self) -> None:
        """Draw the bars anew from the kept logits; nothing is decoded."""
        if (here := self.position) is None:
            return
        started = self._clock()
        knobs = {name: getattr(self.knobs, name) for name in KNOBS}
        self._stages = stages(here.logits, here.generated, **knobs)
        self.bars.view = view(here, self._stages, self.path, self._ahead())
        self.redraw_seconds = self._clock() - started
        self.saved.update()

    def _make(self, prompt: str) -> None:
        self.prompt = ipywidgets.Textarea(prompt, rows=1, description="prompt", tooltip="What to ask", **FULL)
        self.sliders = {name: slider(self.knobs, name) for name in KNOBS}
        self.bars = Bars()
        self.bars.on_msg(self._heard)
        self.status = ipywidgets.HTML()

        def button(text: str, icon: str, hint: str, act: Callable[[], None]) -> Any:
            made = ipywidgets.Button(description=text, icon=icon, tooltip=hint, layout={"width": "auto"})
            made.on_click(lambda _: act())
            return made

        steps = {
            "Start": ("refresh", "Ask the prompt, from the first token on", self.begin),
            "Back": ("step-backward", "Go back by one token", lambda: self.go(self.at - 1)),
            "Forward": ("step-forward", "Go on by one token of what is written", lambda: self.go(self.at + 1)),
            "Draw": ("random", "Draw the next token", self.draw),
            "Likeliest": ("arrow-up", "Take the likeliest token", self.likeliest),
            "Play": ("play", "Draw until the answer ends", self.play),
            "Stop": ("stop", "Stop playing", self.end),
        }
        self.buttons = {text: button(text, *rest) for text, rest in steps.items()}
        columns = {"grid_template_columns": "repeat(auto-fit, minmax(min(25em, 100%), 1fr))"}
        self.widget = ipywidgets.VBox(
            [
                self.prompt,
                ipywidgets.GridBox(list(self.sliders.values()), layout=columns),
                ipywidgets.Box(list(self.buttons.values()), layout={"flex_flow": "row wrap"}),
                self.status,
                self.bars,
                Labels(),
            ],
            layout={"max_width": "64em"},
        )
        self._allow()

    def _heard(self, widget: Any, content: dict[str, Any], buffers: Any) -> None:
        if isinstance(token := content.get("take"), int):
            self.take(token)
        elif isinstance(at := content.get("go"), int):
            self.go(at)

    def _work(self, work: Callable[[Stop], Any]) -> None:
        if not self._worker.busy:
            self.bars.busy = True
            self._worker.start(work)
            self._allow()

    def _to(self, at: int, stop: Stop) -> None:
        path = tuple(self.path[:at])
        if path not in self._positions:
            before = next(iter(self._positions.values()), None)
            self._positions[path] = self.knobs.look(
                self._messages,
                path,
                raw=self._raw,
                before=before,
                stop=stop,
                on_status=self._say,
                plan=self._plan,
            )
            if len(self._positions) > _KEPT:
                self._positions.popitem(last=False)
        self.at = at
        self._say(f"step {at + 1}" + (f" of {len(self.path)}" if at < len(self.path) else ""))
        self.redraw()

    def _take(self, here: Position, token: int, stop: Stop) -> bool:
        """Whether the answer goes on after it."""
        if not 0 <= token < len(here.names):
            raise PhiError(f"there is no token {token}")
        if token in here.ends:
            self._say(f"{here.names[token]} ends the answer")
            return False
        if self._ahead() != token:
            self.path[self.at :] = [token]
        self._to(self.at + 1, stop)
        return True

    def _drawn(self, here: Position, through: Stages) -> int:
        # A seed that is set makes the draws the same each time; they are not those of an answer, whose generator is
        # llama.cpp's.
        seed = self.knobs.seed if self.knobs.seed is not None else secrets.randbits(64)
        generator = np.random.default_rng([seed, len(here.generated)])
        return int(generator.choice(len(through.kept), p=through.kept))

    def _ahead(self) -> int | None:
        return self.path[self.at] if self.at < len(self.path) else None

    def _say(self, text: str) -> None:
        self.status.value = f'<span role="status">{html.escape(to_text(text))}</span>'

    def _failed(self, text: str) -> None:
        self.status.value = f'<b role="alert">{html.escape(to_text(text))}</b>'

    def _ended(self) -> None:
        self.bars.busy = False
        self._allow()

    def _allow(self) -> None:
        """Only what can be done now is offered."""
        busy = self._worker.busy
        for name, button in self.buttons.items():
            ready = name == "Start" or self.position is not None
            button.disabled = not busy if name == "Stop" else busy or not ready

    def _state(self) -> dict[str, str]:
        """What the explorer shows, for a page without a kernel."""
        here = self.position
        knobs = ", ".join(f"{label(name)} {getattr(self.knobs, name)}" for name in KNOBS)
        if here is None or self._stages is None:
            return {"text/html": f"<p>{escape(knobs)}</p>", "text/plain": knobs}
        shown = table(here, self._stages, self._ahead())
        answer = "".join(here.names[token] for token in self.path[: self.at])
        says = [f"prompt: {self.prompt.value}", f"answer so far: {answer}", knobs]
        page = "".join(f"<p>{escape(line)}</p>" for line in says)
        page = f"<p>The explorer as it was left; run its cell again to use it.</p>{page}{shown['text/html']}"
        return {"text/html": page, "text/plain": to_text("\n".join(says)) + "\n\n" + shown["text/plain"]}


def show(reply: Reply) -> None:
    """Open an explorer on a reply.

    Raises:
        PhiError: outside of a notebook.
    """
    from IPython.core.getipython import get_ipython

    if not hasattr(get_ipython(), "kernel"):
        raise PhiError("explore() needs a notebook; phi_magic.distribution gives the figures anywhere")
    Explorer.of(reply).show()
