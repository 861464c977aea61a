"""Show an answer while it grows: in a cell's output, in a terminal, or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol, TextIO

from .rendering.formats import bundle, with_thoughts
from .rendering.redraw import Clock, Pace
from .reply import Reply


class Output:
    """One output of a cell that is redrawn in place, at most every ``interval`` seconds.

    A slow redraw makes the next one wait longer, so that drawing takes a small part of the time.

    Args:
        live: false where an output cannot be taken back, as in a terminal: only the last state is shown there.
    """

    def __init__(self, *, interval: float = 0.1, live: bool = True, clock: Clock = time.perf_counter) -> None:
        self.handle: str | None = None
        self._live = live
        self._pace = Pace(interval, clock)

    def draw(self, bundle: Callable[[], dict[str, Any]], *, whole: bool = False) -> None:
        """Show what ``bundle`` returns, if a redraw is due or all is ``whole``."""
        if self._live and (whole or self._pace.due):
            with self._pace.drawing():
                self.show(bundle())

    def show(self, data: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        """Show ``data`` in place of what was shown before."""
        from IPython.display import display, update_display

        if self.handle is None:
            self.handle = display(data, metadata=metadata or {}, raw=True, display_id=True).display_id
        else:
            update_display(data, metadata=metadata or {}, raw=True, display_id=self.handle)


class View(Protocol):
    """Where an answer is shown. The methods are called in this order; ``status``, ``grow`` and ``note`` any number of
    times.
    """

    def status(self, text: str) -> None:
        """Show what is going on before the first token."""

    def grow(self, reply: Reply, piece: str) -> None:
        """Show the reply, to which ``piece`` was added. A whole reply is shown at once: its record may be awaited yet."""

    def finish(self, reply: Reply) -> None:
        """Show the reply; nothing will be added to it."""

    def drop(self) -> None:
        """Say, where it can be said any more, that the reply is no turn of its conversation now."""

    def note(self, text: str) -> None:
        """Show a remark about the answer, before or after it; nothing if ``text`` is empty."""


class QuietView:
    """Shows nothing."""

    def status(self, text: str) -> None: ...
    def grow(self, reply: Reply, piece: str) -> None: ...
    def finish(self, reply: Reply) -> None: ...
    def drop(self) -> None: ...
    def note(self, text: str) -> None: ...


class CellView:
    """Redraws one output of a cell in place, at most every ``refresh_interval`` seconds.

    Args:
        turn: which turn of which conversation the answer is, in words; empty where it is none.
    """

    def __init__(
        self,
        form: str = "markdown",
        *,
        refresh_interval: float = 0.1,
        show_stats: bool = True,
        stream: bool = True,
        turn: str = "",
        clock: Clock = time.perf_counter,
    ) -> None:
        self._form = form
        self._turn = turn
        self._stats, self._said = Output(), ""
        self._output = Output(interval=refresh_interval, live=stream, clock=clock)
        self._show_stats = show_stats

    def status(self, text: str) -> None:
        self._output.show({**_note(text), "text/plain": f"({text})"})

    def grow(self, reply: Reply, piece: str) -> None:
        if reply.timings.total:
            self._output.show(self._bundle(reply))
        else:
            self._output.draw(lambda: self._bundle(reply, whole=False))

    def finish(self, reply: Reply) -> None:
        metadata = {"phi_magic": reply.record()}
        self._output.show(self._bundle(reply), metadata)
        if self._shades(reply) and self._output.handle:
            from .widgets.token_view import TokenView

            TokenView(reply).saved.show_beside(self._output.handle, metadata)
        if self._show_stats or reply.finish_reason == "interrupted" or reply.left_out:
            self._said = _about(reply, self._turn)
            if self._turn:  # may be shown again
                self._stats.show(_note(self._said))
            else:
                self.note(self._said)

    def drop(self) -> None:
        if self._said:
            self._stats.show(_note(f"{self._said} · dropped: the model does not read it any more"))

    def note(self, text: str) -> None:
        if text:
            from IPython.display import display

            display(_note(text), raw=True)

    def _shades(self, reply: Reply) -> bool:
        """Whether tokens are shown; a server may give the text alone."""
        return self._form == "tokens" and bool(reply.tokens or not reply.text)

    def _bundle(self, reply: Reply, *, whole: bool = True) -> dict[str, Any]:
        if self._shades(reply):
            from .rendering.token_shading import bundle as tokens_bundle

            return tokens_bundle(reply.tokens, whole=whole)
        data = bundle(reply.text, "text" if self._form == "tokens" else self._form, whole=whole)
        return with_thoughts(data, reply.reasoning, reply.thought(), growing=not (whole or reply.text))


class TerminalView:
    """Writes the answer as it comes, and everything else to another stream; ``turn`` as for :class:`CellView`.

    Of a reasoning model's thoughts a terminal shows one line, dimmed, above the answer. As ``tokens``, each token stands
    below the answer with its probability.
    """

    def __init__(
        self,
        out: TextIO,
        err: TextIO,
        form: str = "markdown",
        *,
        show_stats: bool = True,
        stream: bool = True,
        turn: str = "",
    ) -> None:
        self._form = form
        self._turn = turn
        self._out = out
        self._err = err
        self._show_stats = show_stats
        self._stream = stream
        self._status = ""
        self._written = False  # in one piece
        self._thought = False  # whether the line of the thoughts is there

    def status(self, text: str) -> None:
        if self._err.isatty():
            self._err.write(f"\r{text}{' ' * (len(self._status) - len(text))}")
            self._err.flush()
            self._status = text

    def grow(self, reply: Reply, piece: str) -> None:
        if reply.reasoning and not reply.text:
            self.status(reply.thought())
            return
        self._clear()
        self._show_thoughts(reply)
        if self._stream:
            self._write(piece)
        elif reply.timings.total:
            self._write_whole(reply)

    def finish(self, reply: Reply) -> None:
        self._clear()
        self._show_thoughts(reply)
        if not self._stream:
            self._write_whole(reply)
        if reply.text and not reply.text.endswith("\n"):
            self._write("\n")
        if self._form == "tokens" and reply.tokens:
            from .rendering.token_shading import to_text

            self._write(f"\n{to_text(reply.tokens).rstrip()}\n")
        if self._show_stats or reply.left_out:
            self.note(_about(reply, self._turn))

    def drop(self) -> None: ...

    def note(self, text: str) -> None:
        if text:
            self._err.write(f"{text}\n")
            self._err.flush()

    def _write_whole(self, reply: Reply) -> None:
        if not self._written:
            self._written = True
            self._write(reply.text)

    def _write(self, text: str) -> None:
        from .rendering import to_text

        self._out.write(to_text(text))
        self._out.flush()

    def _show_thoughts(self, reply: Reply) -> None:
        if reply.reasoning and not self._thought and self._err.isatty():
            self.note(f"\x1b[2m{reply.thought()}\x1b[0m")
            self._thought = True

    def _clear(self) -> None:
        if self._status:
            self._err.write(f"\r{' ' * len(self._status)}\r")
            self._err.flush()
            self._status = ""


def _about(reply: Reply, turn: str) -> str:
    """What stands below an answer: its figures, its turn, and the settings that are not the defaults."""
    from .settings import changed

    return " · ".join(filter(None, [reply.stats(), turn, changed(reply.params)]))


def _note(text: str) -> dict[str, str]:
    return {"text/plain": text, "text/html": _aside(text)}


def _aside(text: str) -> str:
    from .rendering import escape

    return f'<div style="opacity: 0.65; font-size: 0.9em">{escape(text)}</div>'
