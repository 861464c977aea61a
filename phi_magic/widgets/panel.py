"""``%phi_panel``: every setting under one's hand, and an answer beside them."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import ipywidgets

from ..cell import cell_for
from ..errors import PhiError
from ..generation.stream import Stream
from ..models.files import KNOWN
from ..phi import Phi
from ..rendering import escape, to_html, to_text
from ..rendering.redraw import Pace
from .controls import FULL, Link, close, label, slider, tooltip
from .labels import Labels
from .saved import Saved
from .seed import SeedControl
from .worker import Worker

_SLIDERS = ("temperature", "top_p", "top_k", "min_p", "repeat_penalty", "repeat_last_n", "max_tokens")
_TRAITS = ("model", "system", *_SLIDERS, "seed")


class Panel:
    """Settings linked both ways with a ``Phi``, and answers written on a thread of the panel's own.

    Args:
        phi: its traits are set by the controls, and set them.
        prompt: what the prompt's field begins with.
        fill: makes of the field's text the prompt, as a cell's ``{{ }}`` are filled in.
    """

    def __init__(self, phi: Phi, prompt: str = "", *, fill: Callable[[str], str] = lambda text: text) -> None:
        self.phi = phi
        self._fill = fill
        self._stream: Stream | None = None
        self._worker = Worker(on_error=self._failed, on_end=self._ended)
        self._make_fields(prompt)
        self._make_buttons()
        self._links = [Link(phi, name, widget) for name, widget in self.sliders.items()]
        self._links += [Link(phi, "model", self.model), Link(phi, "system", self.system)]
        columns = {"grid_template_columns": "repeat(auto-fit, minmax(min(25em, 100%), 1fr))"}
        buttons = [self.generate, self.stop, self.reset, self.away]
        self.widget = ipywidgets.VBox(
            [
                self.model,
                self.system,
                self.prompt,
                ipywidgets.GridBox(list(self.sliders.values()), layout=columns),
                self.seed.widget,
                ipywidgets.Box(buttons, layout={"flex_flow": "row wrap"}),
                self.answer,
                self.status,
                self.cell,
                Labels(),
            ],
            layout={"max_width": "64em"},
        )
        self.saved = Saved(self.widget, self._state, self.close)
        phi.observe(self._keep, list(_TRAITS))

    def ask(self) -> None:
        """Answer the prompt, on the panel's own thread; the answer streams into the panel."""
        if self._worker.busy:
            return
        body = self.prompt.value.strip("\n")
        try:
            stream = self.phi.stream(self._fill(body), on_status=self._say)
        except PhiError as error:
            self._failed(str(error))
            return
        self._stream = stream
        self.answer.value = self.cell.value = ""
        self._say("")
        self.generate.disabled, self.stop.disabled = True, False
        self._worker.start(lambda _: self._write(stream, body), stream.stopping)

    def end(self) -> None:
        """Stop the answer; what there is of it stays."""
        if self._worker.busy:
            self._say("stopping")
        self._worker.stop()

    def wait(self) -> None:
        """Until the answer is whole."""
        self._worker.wait()

    def restore(self) -> None:
        """Every setting as the configuration has it, before anybody changed it."""
        fresh = Phi(parent=self.phi.parent)
        for name in _TRAITS:
            setattr(self.phi, name, getattr(fresh, name))

    def close(self) -> None:
        """Stop, and take the panel away with every observer it left; the saved state stays."""
        if self.widget.comm is None:  # closed before
            return
        self.end()
        self.seed.close()
        for link in self._links:
            link.close()
        self.phi.unobserve(self._keep, list(_TRAITS))
        close(self.widget)

    def _make_fields(self, prompt: str) -> None:
        traits = self.phi.traits()
        self.model = ipywidgets.Combobox(
            options=tuple(KNOWN), continuous_update=False, description="model", tooltip=tooltip(traits["model"]), **FULL
        )
        self.system = ipywidgets.Textarea(
            rows=1, continuous_update=False, description="system", tooltip=tooltip(traits["system"]), **FULL
        )
        self.prompt = ipywidgets.Textarea(
            prompt,
            rows=3,
            description="prompt",
            placeholder="What to ask",
            tooltip="What to ask. As in a cell, {{ }} is filled in with the notebook's variables.",
            **FULL,
        )
        self.sliders = {name: slider(self.phi, name) for name in _SLIDERS}
        self.seed = SeedControl(self.phi)
        self.answer = ipywidgets.HTML()
        self.status = ipywidgets.HTML()
        self.cell = ipywidgets.Textarea(
            rows=4,
            description="as a cell",
            placeholder="After an answer: the cell that gives the same one again",
            tooltip="The cell that gives this same answer again, to copy",
            **FULL,
        )

    def _make_buttons(self) -> None:
        def button(text: str, icon: str, hint: str, act: Callable[[], None], **options: Any) -> Any:
            made = ipywidgets.Button(description=text, icon=icon, tooltip=hint, layout={"width": "auto"}, **options)
            made.on_click(lambda _: act())
            return made

        self.generate = button("Generate", "play", "Answer the prompt", self.ask, button_style="primary")
        self.stop = button("Stop", "stop", "End the answer here", self.end, disabled=True)
        self.reset = button("Reset", "undo", "Every setting as it was before it was changed", self.restore)
        self.away = button("Close", "times", "Take the panel away", self.close)

    def _write(self, stream: Stream, body: str) -> None:
        reply, pace = stream.reply, Pace(self.phi.refresh_interval)
        with stream.in_order():
            for _ in stream:
                if pace.due:
                    with pace.drawing():
                        self.answer.value = _answer(reply.text)
                        self._say(f"{reply.usage.completion_tokens} tokens · {reply.timings.speed}")
        self.answer.value = _answer(reply.text)
        self._say(reply.stats())
        self.seed.show(reply.seed)
        # Every setting is said: sliders may be moved before the cell is run.
        self.cell.value = cell_for(reply, {"system": "", "stop": []}, body)

    def _say(self, text: str) -> None:
        self.status.value = f'<span role="status">{html.escape(to_text(text))}</span>'

    def _failed(self, text: str) -> None:
        self.status.value = f'<b role="alert">{html.escape(to_text(text))}</b>'

    def _ended(self) -> None:
        self.generate.disabled, self.stop.disabled = False, True
        self._keep()

    def _keep(self, change: Any = None) -> None:
        self.saved.update()

    def _state(self) -> dict[str, str]:
        """What the panel shows, for a page without a kernel."""
        settings = {label(name): str(getattr(self.phi, name)) for name in _TRAITS if name != "seed"}
        settings["seed"] = "a fresh one for each answer" if self.phi.seed is None else str(self.phi.seed)
        reply = self._stream.reply if self._stream else None
        rows = "".join(
            f'<tr><th scope="row" align="left">{name}</th><td align="left">{escape(value)}</td></tr>'
            for name, value in settings.items()
        )
        page = f"<p>The panel as it was left; run its cell again to use it.</p><table><tbody>{rows}</tbody></table>"
        text = "\n".join(f"{name}: {value}" for name, value in settings.items())
        prompt = reply.prompt if reply else self.prompt.value
        if prompt:
            page += f"<p><b>{escape(prompt)}</b></p>"
            text += f"\n\n{prompt}"
        if reply:
            page += f"{to_html(reply.text)}<p><small>{html.escape(reply.stats())}</small></p>"
            page += f"<pre>{escape(self.cell.value)}</pre>"
            text += f"\n\n{reply.text}\n({reply.stats()})\n\n{self.cell.value}"
        return {"text/html": page, "text/plain": to_text(text)}


def _answer(text: str) -> str:
    # ipywidgets gives every line the height of a slider.
    return f'<div style="line-height: 1.5">{to_html(text)}</div>'
