"""An answer token by token, where another token can be taken and the answer branches."""

from __future__ import annotations

from dataclasses import dataclass
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
from ..rendering.shades import SCALES, chance, legend, shades
from ..rendering.token_shading import ALTERNATIVES, about, bundle, kind, numbers, percent, shown
from ..reply import Alternative, Message, Reply, Token
from ..settings import RECORDED_TRAITS
from .controls import StatusLine, button, close
from .front_end import front_end
from .labels import Labels
from .saved import Saved
from .thread import WidgetThread


class Branch(anywidget.AnyWidget):
    """One answer's tokens; sends ``{"at": step, "take": token id}`` and ``{"choose": one of CHOICES}``."""

    _esm = front_end("make.js", "token_view.js")
    _css = front_end("token_view.css")
    tokens: Any = traitlets.List().tag(sync=True)
    begun = traitlets.Int(0, help="How many of the tokens were taken from the answer that this one left.").tag(
        sync=True
    )
    label = traitlets.Unicode().tag(sync=True)
    text = traitlets.Unicode(help="The answer without its tokens.").tag(sync=True)
    scale = traitlets.Enum([*SCALES], "bits").tag(sync=True)
    scales = traitlets.Dict(SCALES).tag(sync=True)
    legend: Any = traitlets.Dict(help="For each scale some shades with what they stand for.").tag(sync=True)
    choices: Any = traitlets.Dict(help="What can become of a branch, with a button's text and hint.").tag(sync=True)
    busy = traitlets.Bool(False).tag(sync=True)


@dataclass
class _Answer:
    """An answer in the view; ``origin`` is the number of the one that it left, until it is decided what becomes of it."""

    reply: Reply
    branch: Branch
    origin: int | None = None


class TokenView:
    """A reply and the branches that leave it, one below the other; their numbers begin with 0 and stay theirs.

    A branch has the settings, the seed and the plan of its origin, so that only the taken token differs. The exception is
    a branch of a map's answer: the map made that in wide passes, and a branch is decoded singly.
    """

    def __init__(self, reply: Reply) -> None:
        self._answers: dict[int, _Answer] = {}  # in the order in which they are shown
        self._count = 0
        recorded = {name: reply.params[name] for name in RECORDED_TRAITS if name in reply.params}
        self._phi = Phi(model=reply.model, **recorded)
        self.status = StatusLine()
        self._thread = WidgetThread(on_error=self.status.fail, on_end=self._ended)
        self.stop = button("Stop", "stop", "End the branch here", self._thread.stop)
        self.controls = ipywidgets.HBox([self.stop, self.status.widget, Labels()])
        # Branches come and go in a separate box: what follows a changed child is drawn again, `Labels` must stay.
        self._shown = ipywidgets.VBox()
        self.widget = ipywidgets.VBox([self._shown, self.controls])
        self._add(
            reply,
            Branch(
                label=f"{reply.finish_reason} · hover over a token, or press Enter on it, for what else could have stood there; take one to branch"
            ),
        )
        self._fill(0)
        self._busy(False)
        self.saved = Saved(self.widget, self._state, self.close)

    @property
    def replies(self) -> dict[int, Reply]:
        return {number: answer.reply for number, answer in self._answers.items()}

    @property
    def branches(self) -> dict[int, Branch]:
        return {number: answer.branch for number, answer in self._answers.items()}

    def branch(self, number: int, at: int, token: int) -> None:
        """Ask again: an answer that begins with the first ``at`` tokens of reply ``number`` and then ``token``."""
        origin = self._answers[number].reply
        if self._thread.busy or not 0 <= at < len(origin.tokens):
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
                on_status=self.status.say,
            )
        except PhiError as error:
            self.status.fail(str(error))
            return
        label = f"answer {self._count + 1}: branch of answer {number + 1} at token {at + 1}"
        self._add(stream.reply, Branch(begun=at, label=label, scale=self._answers[number].branch.scale), number)
        self._busy(True)
        self._thread.start(lambda _: self._write(stream), stream.stopping)

    def keep(self, number: int) -> None:
        """Keep a branch beside its origin."""
        self._answers[number].origin = None
        self._arrange()

    def replace(self, number: int) -> None:
        """Put a branch into the place of its origin, which leaves the view."""
        origin = self._answers[number].origin
        if origin is None:
            return
        branch = self._answers.pop(number)
        branch.origin = None
        gone = self._answers[origin].branch
        self._answers = {
            number if one == origin else one: branch if one == origin else answer
            for one, answer in self._answers.items()
        }
        self._arrange()
        gone.close()

    def discard(self, number: int) -> None:
        """Take a branch out of the view."""
        gone = self._answers.pop(number).branch
        self._arrange()
        gone.close()

    def wait(self) -> None:
        """Wait until the branch is complete."""
        self._thread.wait()

    def close(self) -> None:
        """Stop, and take the view away; the saved state stays."""
        self._thread.stop()
        close(self.widget)
        self.saved.closed()

    def _add(self, reply: Reply, branch: Branch, origin: int | None = None) -> None:
        number, self._count = self._count, self._count + 1
        self._answers[number] = _Answer(reply, branch, origin)

        def heard(widget: Any, content: dict[str, Any], buffers: Any) -> None:
            at, token = content.get("at"), content.get("take")
            if isinstance(at, int) and isinstance(token, int):
                self.branch(number, at, token)
            elif (choose := content.get("choose")) in _CHOICES and not self._thread.busy:
                getattr(self, choose)(number)
                self.saved.update()

        branch.on_msg(heard)
        branch.observe(self._scaled, "scale")
        self._arrange()

    def _arrange(self) -> None:
        """Show the answers in their order; a branch that nothing was decided of offers what can become of it."""
        for answer in self._answers.values():
            if answer.origin not in self._answers:
                answer.origin = None
            answer.branch.choices = (
                {}
                if answer.origin is None
                else {name: [text.format(answer.origin + 1), hint] for name, (text, hint) in _CHOICES.items()}
            )
        self._shown.children = list(self.branches.values())

    def _scaled(self, change: Any) -> None:
        for branch in self.branches.values():
            branch.scale = change.new
        self.saved.update()

    def _write(self, stream: Stream) -> None:
        number, pace = max(self._answers), Pace(self._phi.refresh_interval)
        with stream.in_order():
            for _ in stream:
                if pace.due:
                    with pace.drawing():
                        self._fill(number, whole=False)
        self._fill(number)
        self.status.say(stream.reply.stats())

    def _fill(self, number: int, *, whole: bool = True) -> None:
        # The alternatives are most of the data, and of use only when the answer stands still.
        reply, branch = self._answers[number].reply, self._answers[number].branch
        colours = {scale: shades(reply.tokens, scale) for scale in SCALES}
        branch.legend = {scale: legend(reply.tokens, scale) for scale in SCALES}
        branch.text = to_text(reply.text)
        branch.tokens = [
            {**_token(token, whole=whole), "shade": {scale: colours[scale][at] for scale in SCALES}}
            for at, token in enumerate(reply.tokens)
        ]

    def _busy(self, busy: bool) -> None:
        self.stop.layout.display = "" if busy else "none"
        for branch in self.branches.values():
            branch.busy = busy

    def _ended(self) -> None:
        self._busy(False)
        self.saved.update()

    def _state(self) -> dict[str, str]:
        """All branches, for a page without a kernel."""
        pages: list[str] = []
        texts: list[str] = []
        for answer in self._answers.values():
            shown, title = bundle(answer.reply.tokens, scale=answer.branch.scale), answer.branch.label
            pages.append(f"<p><b>{title}</b></p>{shown['text/html']}" if pages else shown["text/html"])
            texts.append(f"{title}:\n{shown['text/plain']}" if texts else shown["text/plain"])
        return {"text/html": "".join(pages), "text/plain": "\n\n".join(texts)}


#: What can become of a branch: a button's text, and its hint.
_CHOICES = {
    "keep": ("Keep both", "Keep the branch below the answer that it left"),
    "replace": ("Replace answer {}", "Show the branch in the place of the answer that it left"),
    "discard": ("Discard", "Take the branch away"),
}


def _token(token: Token, *, whole: bool) -> dict[str, Any]:
    """What ``token_view.js`` draws."""
    light = {
        "id": token.id,
        "text": shown(token.text),
        "kind": kind(token.text),
        "number": percent(chance(token.logprob)),
        "breaks": "\n" in token.text,
    }
    if not whole:
        return light
    return {**light, "lines": about(token), "top": [_alternative(other) for other in token.top]}


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
    """Show a reply's tokens: with branches where there is a kernel, else as text.

    Raises:
        PhiError: the reply has none; a server gives them where they are asked for.
    """
    if reply.text and not reply.tokens:
        raise PhiError("this answer has no records of its tokens: ask a server with top_logprobs=1, or with -f tokens")
    from IPython.core.getipython import get_ipython
    from IPython.display import display

    shell: Any = get_ipython()
    if hasattr(shell, "kernel"):
        TokenView(reply).saved.show()
    else:
        display(bundle(reply.tokens), raw=True)
