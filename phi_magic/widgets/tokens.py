"""An answer token by token, where another token can be taken and the answer branches."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import traitlets

from ..errors import PhiError
from ..generation.plan import Plan
from ..generation.stream import Stream
from ..phi import Phi
from ..rendering import to_text
from ..rendering.redraw import Pace
from ..rendering.token_shading import ALTERNATIVES, bits, bundle, chance, kind, numbers, percent, shade, shown
from ..reply import Alternative, Message, Reply, Token
from ..settings import ANSWER_TRAITS
from .controls import close
from .labels import Labels
from .saved import Saved
from .worker import Worker


class Branch(anywidget.AnyWidget):
    """One answer's tokens; sends ``{"at": step, "take": token id}``."""

    _esm = (Path(__file__).parent / "tokens.js").read_text("utf-8")
    _css = (Path(__file__).parent / "tokens.css").read_text("utf-8")
    tokens: Any = traitlets.List().tag(sync=True)
    begun = traitlets.Int(0, help="How many of the tokens were taken from the answer that this one left.").tag(
        sync=True
    )
    label = traitlets.Unicode().tag(sync=True)
    busy = traitlets.Bool(False).tag(sync=True)


class TokenView:
    """A reply and the branches that leave it, one below the other.

    A branch is asked with the settings and the seed of its origin, and run as it was, so that it differs by the taken
    token alone; unless the origin was one of a map's, whose passes are wide.
    """

    def __init__(self, reply: Reply) -> None:
        self.replies: list[Reply] = []
        self._phi = Phi(
            model=reply.model,
            **{name: reply.params[name] for name in (*ANSWER_TRAITS, "n_ctx", "exact") if name in reply.params},
        )
        self._worker = Worker(on_error=self._say_failed, on_end=self._ended)
        self.status = ipywidgets.HTML()
        self.stop = ipywidgets.Button(
            description="Stop", icon="stop", tooltip="End the branch here", disabled=True, layout={"width": "auto"}
        )
        self.stop.on_click(lambda _: self._worker.stop())
        self.controls = ipywidgets.HBox([self.stop, self.status, Labels()])
        self.widget = ipywidgets.VBox()
        self._add(
            reply,
            Branch(
                label=f"{reply.finish_reason} · hover over a token, or press Enter on it, for what else could have stood there; take one to branch"
            ),
        )
        self._fill(0)
        self.saved = Saved(self.widget, self._state, self.close)

    @property
    def branches(self) -> list[Any]:
        return list(self.widget.children[:-1])

    def branch(self, number: int, at: int, token: int) -> None:
        """Begin the answer anew with the first ``at`` tokens of reply ``number`` and then ``token``."""
        origin = self.replies[number]
        if self._worker.busy or not 0 <= at < len(origin.tokens):
            return
        messages: list[Message] = [*origin.messages, {"role": "user", "content": origin.prompt}]
        try:
            stream = self._phi.stream(
                messages,
                raw=bool(origin.params.get("raw")),
                known=origin.tokens[:at],
                begin=[token],
                top_logprobs=max(ALTERNATIVES, len(origin.tokens[at].top)),
                seed=origin.seed,
                schema=origin.params.get("schema"),
                plan=Plan.of(origin.engine),
                identify=False,
                on_status=self._say,
            )
        except PhiError as error:
            self._say_failed(str(error))
            return
        self._add(stream.reply, Branch(begun=at, label=f"branch of answer {number + 1} at token {at + 1}"))
        self._busy(True)
        self._worker.start(lambda _: self._write(stream), stream.stopping)

    def wait(self) -> None:
        """Until the branch is whole."""
        self._worker.wait()

    def close(self) -> None:
        """Stop, and take the view away; the saved state stays."""
        self._worker.stop()
        close(self.widget)
        self.saved.closed()

    def _add(self, reply: Reply, branch: Branch) -> None:
        number = len(self.replies)
        self.replies.append(reply)

        def heard(widget: Any, content: dict[str, Any], buffers: Any) -> None:
            at, token = content.get("at"), content.get("take")
            if isinstance(at, int) and isinstance(token, int):
                self.branch(number, at, token)

        branch.on_msg(heard)
        self.widget.children = [*self.branches, branch, self.controls]

    def _write(self, stream: Stream) -> None:
        number, pace = len(self.replies) - 1, Pace(self._phi.refresh_interval)
        with stream.in_order():
            for _ in stream:
                if pace.due:
                    with pace.drawing():
                        self._fill(number, whole=False)
        self._fill(number)
        self._say(stream.reply.stats())

    def _fill(self, number: int, *, whole: bool = True) -> None:
        # The alternatives are most of the data, and of use only when the answer stands still.
        self.branches[number].tokens = [_token(token, whole=whole) for token in self.replies[number].tokens]

    def _busy(self, busy: bool) -> None:
        self.stop.disabled = not busy
        for branch in self.branches:
            branch.busy = busy

    def _ended(self) -> None:
        self._busy(False)
        self.saved.update()

    def _say(self, text: str) -> None:
        self.status.value = f'<span role="status">{html.escape(to_text(text))}</span>'

    def _say_failed(self, text: str) -> None:
        self.status.value = f'<b role="alert">{html.escape(to_text(text))}</b>'

    def _state(self) -> dict[str, str]:
        """All branches, for a page without a kernel."""
        bundles = [bundle(reply.tokens) for reply in self.replies]
        titles = [branch.label for branch in self.branches]
        page, text = bundles[0]["text/html"], bundles[0]["text/plain"]
        for one, title in zip(bundles[1:], titles[1:], strict=True):
            page += f"<p><b>{title}</b></p>{one['text/html']}"
            text += f"\n\n{title}:\n{one['text/plain']}"
        return {"text/html": page, "text/plain": text}


def _token(token: Token, *, whole: bool) -> dict[str, Any]:
    """What ``tokens.js`` draws."""
    light = {
        "id": token.id,
        "text": shown(token.text),
        "kind": kind(token.text),
        "number": percent(chance(token.logprob)),
        "shade": shade(token.logprob),
        "breaks": "\n" in token.text,
    }
    if not whole:
        return light
    lines = [
        f"{shown(token.text)}  {numbers(token)}",
        f"rank {token.rank} · surprise {bits(token.logprob):.2f} bits",
    ]
    if what := kind(token.text):
        lines.insert(1, what)
    return {**light, "lines": lines, "top": [_alternative(other) for other in token.top]}


def _alternative(other: Alternative) -> dict[str, Any]:
    what = kind(other.text)
    return {
        "id": other.id,
        "text": shown(other.text),
        "kind": what,
        "ends": what == "control token",
        "numbers": numbers(other),
    }


def show(reply: Reply) -> None:
    """Show a reply's tokens: with branches where there is a kernel, else as text."""
    from IPython.core.getipython import get_ipython
    from IPython.display import display

    shell: Any = get_ipython()
    if hasattr(shell, "kernel"):
        TokenView(reply).saved.show()
    else:
        display(bundle(reply.tokens), raw=True)
