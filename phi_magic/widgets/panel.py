"""``%phi_panel``: every sampling parameter as a slider, and an answer beside them."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import ipywidgets
from traitlets import link

from ..cell import cell_for
from ..errors import PhiError
from ..generation.stream import Stream
from ..models.files import names
from ..phi import Phi
from ..rendering import escape, to_html, to_text
from ..rendering.formats import folded
from ..rendering.redraw import Pace
from ..reply import Reply
from ..settings import ANSWER_TRAITS, label
from .code import Code
from .controls import FULL, ROW, StatusLine, button, close, tooltip
from .labels import Labels
from .saved import Saved
from .seed import SeedControl
from .sliders import Sliders
from .thread import WidgetThread

_SLIDERS = tuple(name for name in ANSWER_TRAITS if "step" in Phi.class_traits()[name].metadata)
_TRAITS = ("model", "system", *_SLIDERS, "seed")


class Panel:
    """Settings linked both ways with a ``Phi``, and answers written on a thread of the panel's own.

    Args:
        phi: its traits are set by the controls, and set them.
        prompt: what the prompt's field begins with.
        fill: turns the field's text into the prompt, by filling in ``{{ }}`` as in a cell. Without it braces are plain text.
    """

    def __init__(self, phi: Phi, prompt: str = "", *, fill: Callable[[str], str] | None = None) -> None:
        self.phi = phi
        self._fill = fill
        self._stream: Stream | None = None
        self._body = ""
        self._failure = ""
        self.status = StatusLine()
        self._thread = WidgetThread(on_error=self._failed, on_end=self._ended)
        self._make_fields(prompt)
        self._make_buttons()
        self._links = [link((phi, name), (getattr(self, name), "value")) for name in ("model", "system")]
        self.widget = ipywidgets.VBox(
            [
                self.model,
                self.system,
                self.prompt,
                self.sliders,
                self.seed.widget,
                ipywidgets.Box([self.generate, self.stop, self.reset, self.defaults, self.away], **ROW),
                self.status.widget,
                self.age.widget,
                self.answer,
                self.cell,
                Labels(self.ask, {one.description: one.tooltip for one in (self.model, self.system, self.prompt)}),
            ],
            layout={"max_width": "64em"},
        )
        self.saved = Saved(self.widget, self._state, self.close)
        phi.observe(self._changed, [*ANSWER_TRAITS, "model", "seed"])
        self.prompt.observe(self._changed, "value")
        self.cell.observe(self._changed, "everything")

    @property
    def reply(self) -> Reply | None:
        """The answer that is shown, whole or not; nothing where asking failed before the first token."""
        reply = self._stream.reply if self._stream else None
        return reply if reply and (reply.text or reply.reasoning or not self._failure) else None

    def ask(self) -> None:
        """Answer the prompt, on the panel's own thread; the answer streams into the panel."""
        if self._thread.busy:
            return
        body = self.prompt.value.strip("\n")
        try:
            stream = self.phi.stream(self._fill(body) if self._fill else body, on_status=self.status.say)
        except PhiError as error:
            self._failed(str(error))
            return
        self._stream, self._body, self._failure = stream, body, ""
        self.answer.value = self.cell.text = ""
        self.age.say("")
        self.status.say("")
        self.generate.disabled, self.stop.disabled = True, False
        self._thread.start(lambda _: self._write(stream), stream.stopping)

    def end(self) -> None:
        """Stop the answer; the partial answer stays."""
        if self._thread.busy:
            self.status.say("stopping")
        self._thread.stop()

    def wait(self) -> None:
        """Wait until the answer is whole."""
        self._thread.wait()

    def restore(self) -> None:
        """Set every setting to what is configured: by ``ipython_config.py`` and ``%config``, else its default."""
        configured = Phi(parent=self.phi.parent)
        for name in _TRAITS:
            setattr(self.phi, name, getattr(configured, name))

    def restore_defaults(self) -> None:
        """Set the sampling parameters, the length and the seed to their defaults, whatever is configured."""
        for name in (*_SLIDERS, "seed"):
            setattr(self.phi, name, self.phi.trait_defaults(name))

    def close(self) -> None:
        """Stop, and take the panel away with every observer it left; the saved state stays."""
        if self.widget.comm is None:  # closed before
            return
        self.end()
        self.seed.close()
        for one in self._links:
            one.unlink()
        self.phi.unobserve(self._changed, [*ANSWER_TRAITS, "model", "seed"])
        close(self.widget)
        self.saved.closed()

    def _make_fields(self, prompt: str) -> None:
        traits = self.phi.traits()
        self.model = ipywidgets.Combobox(
            options=tuple(names()),
            continuous_update=False,
            description="model",
            tooltip=tooltip(traits["model"]),
            **FULL,
        )
        self.system = ipywidgets.Textarea(
            rows=1, continuous_update=False, description="system", tooltip=tooltip(traits["system"]), **FULL
        )
        self.prompt = ipywidgets.Textarea(
            prompt,
            rows=3,
            description="prompt",
            placeholder="What to ask",
            tooltip="What to ask; Ctrl+Enter generates."
            + " As in a cell, {{ }} is filled in with the notebook's variables." * bool(self._fill),
            **FULL,
        )
        self.sliders = Sliders(self.phi, _SLIDERS, on_refused=self.status.fail)
        self.seed = SeedControl(self.phi, on_refused=self.status.fail)
        self.answer = ipywidgets.HTML()
        self.age = StatusLine()
        self.cell = Code()

    def _make_buttons(self) -> None:
        self.generate = button("Generate", "play", "Answer the prompt: Ctrl+Enter", self.ask, button_style="primary")
        self.stop = button("Stop", "stop", "End the answer here", self.end, disabled=True)
        self.reset = button(
            "Reset", "undo", "Every setting as it is configured: by ipython_config.py and %config", self.restore
        )
        self.defaults = button(
            "Defaults",
            "eraser",
            "Sampling parameters, length and seed at phi_magic's own defaults, whatever is configured",
            self.restore_defaults,
        )
        self.away = button("Close", "times", "Take the panel away", self.close)

    def _write(self, stream: Stream) -> None:
        reply, pace = stream.reply, Pace(self.phi.refresh_interval)
        with stream.in_order():
            for _ in stream:
                if pace.due or reply.timings.total:  # whole: its record may be awaited yet
                    with pace.drawing():
                        self._show_answer(reply)
                        self.status.say(f"{reply.usage.completion_tokens} tokens · {reply.timings.speed}")
        self.status.say(reply.stats())
        self.seed.show(reply.seed)

    def _failed(self, text: str) -> None:
        self._failure = text
        self.status.fail(text)
        self.saved.update()

    def _ended(self) -> None:
        self.generate.disabled, self.stop.disabled = False, True
        self._changed()

    def _changed(self, change: Any = None) -> None:
        """Show what a change of a setting means for the answer that is there, and keep it."""
        if (reply := self.reply) and not self._thread.busy:
            moved = self._moved(reply)
            self.age.say(f"An old answer: {', '.join(moved)} changed since." if moved else "")
            self._show_answer(reply, old=bool(moved))
            self.cell.text = self._cell(reply)
        self.saved.update()

    def _show_answer(self, reply: Reply, *, old: bool = False) -> None:
        # ipywidgets gives every line the height of a slider.
        style = "line-height: 1.5" + "; opacity: 0.6" * old
        self.answer.value = f'<div style="{style}">{_answer(reply)}</div>'

    def _moved(self, reply: Reply) -> list[str]:
        """Return the settings that have changed since this answer was made, each with its value then and now."""
        then = {**{name: reply.params[name] for name in ANSWER_TRAITS}, "model": reply.model, "seed": reply.seed}
        moved = [
            f"{label(name)} ({value} → {now})" if name in (*_SLIDERS, "seed") else label(name)
            for name, value in then.items()
            if (now := getattr(self.phi, name)) != value and (name, now) != ("seed", None)
        ]
        return moved + ["prompt"] * (self.prompt.value.strip("\n") != self._body)

    def _cell(self, reply: Reply) -> str:
        """The cell that gives this answer again, with the settings as they are now.

        A setting is left out where both the answer and the ``Phi`` have its default.
        """
        unsaid = ("system", "stop") if self.cell.everything else (*ANSWER_TRAITS, "model")
        implied = {
            name: default for name in unsaid if (default := self.phi.trait_defaults(name)) == getattr(self.phi, name)
        }
        return cell_for(reply, implied, self._body if self._fill else None)

    def _state(self) -> dict[str, str]:
        """What the panel shows, for a page without a kernel."""
        settings = {label(name): str(getattr(self.phi, name)) for name in _TRAITS if name != "seed"}
        settings["seed"] = "a fresh one for each answer" if self.phi.seed is None else str(self.phi.seed)
        rows = "".join(
            f'<tr><th scope="row" align="left">{name}</th><td align="left">{escape(value)}</td></tr>'
            for name, value in settings.items()
        )
        page = f"<p>The panel as it was left; run its cell again to use it.</p><table><tbody>{rows}</tbody></table>"
        text = "\n".join(f"{name}: {value}" for name, value in settings.items())
        reply = self.reply
        if prompt := reply.prompt if reply else self.prompt.value:
            page += f"<p><b>{escape(prompt)}</b></p>"
            text += f"\n\n{prompt}"
        if reply:
            page += f"{_answer(reply)}<p><small>{html.escape(reply.stats())}</small></p>"
            page += f"<pre>{escape(self.cell.text)}</pre>"
            text += f"\n\n{reply.text}\n({reply.stats()})\n\n{self.cell.text}"
        if self._failure:
            page += f"<p><b>{escape(self._failure)}</b></p>"
            text += f"\n\n{self._failure}"
        return {"text/html": page, "text/plain": to_text(text)}


def _answer(reply: Reply) -> str:
    """An answer as HTML, its thoughts above it."""
    growing = not (reply.text or reply.timings.total)
    return folded(reply.reasoning, reply.thought(), growing=growing) + to_html(reply.text)
