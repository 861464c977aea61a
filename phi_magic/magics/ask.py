"""``%phi`` and ``%%phi``: options in, calls out."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand

from ..display import CellView, QuietView, TerminalView, View
from ..errors import PhiError
from ..options import ASKING, CELL, overrides, split, variable
from ..phi import Phi
from .adapting import arguments as magic_arguments
from .adapting import one_line

if TYPE_CHECKING:
    import argparse

    from IPython.core.interactiveshell import InteractiveShell


@magics_class
class AskMagics(Magics):
    """The magic of one shell, with the ``Phi`` whose traits it uses."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell, phi: Phi) -> None:
        super().__init__(shell)
        self.settings = phi

    @no_var_expand  # single braces and dollars are plain text
    @line_cell_magic
    @magic_arguments(*ASKING, *CELL)
    def phi(self, line: str, cell: str | None = None) -> None:
        """Ask the model; its answer streams into the output.

        %phi [options] prompt        one line
        %%phi [options]              the cell's body is the prompt

        The body is a Jinja2 template over the notebook's variables: {{ df.head() }}. An option holds for this answer
        alone; %config Phi.temperature = 0.2 sets it for those that follow, and %config Phi shows all settings.
        """
        with one_line():
            words, rest = split(line, (*ASKING, *CELL))
            if cell is not None and rest:
                raise PhiError(f"{rest!r} stands beside the options: the prompt goes below the first line")
            arguments = AskMagics.phi.parser.parse_args(words)  # type: ignore[union-attr]
            name = variable(arguments.out)
            options = overrides(arguments)
            body = cell if cell is not None else rest
            if not arguments.no_vars:
                from ..prompt import fill

                body = fill(body, self.shell.user_ns)
            self._show(body.strip("\n") if not arguments.raw else body, options, arguments, name)

    def _show(self, prompt: str, options: dict[str, Any], arguments: argparse.Namespace, name: str | None) -> None:
        view = self._view(arguments, options)
        stream = self.settings.stream(prompt, on_status=view.status, **options)
        interrupted = False
        with stream.stopping.holding_interrupts():  # what there is gets shown and bound, whenever Ctrl-C comes
            try:
                for piece in stream:
                    view.grow(stream.reply, piece)
            except KeyboardInterrupt:
                interrupted = True
            if name:
                self.shell.user_ns[name] = stream.reply
            view.finish(stream.reply)
        if interrupted or stream.stopping.by_signal:
            raise KeyboardInterrupt  # so that the cells in the queue do not run

    def _view(self, arguments: argparse.Namespace, options: dict[str, Any]) -> View:
        if arguments.quiet:
            return QuietView()
        stream = not arguments.no_stream
        if not hasattr(self.shell, "kernel"):
            return TerminalView(sys.stdout, sys.stderr, show_stats=self.settings.show_stats, stream=stream)
        return CellView(
            options.get("format", self.settings.format),
            refresh_interval=self.settings.refresh_interval,
            show_stats=self.settings.show_stats,
            stream=stream,
        )


def complete(shell: InteractiveShell, event: Any) -> list[str]:
    """Options for Tab on the first line of ``%phi`` and ``%%phi``, names of models after ``-m``."""
    before = event.text_until_cursor.split()
    previous = before[-2] if event.symbol and len(before) > 1 else before[-1]
    if previous in ("-m", "--model"):
        from ..models import KNOWN

        return [name for name in KNOWN if name.startswith(event.symbol)]
    flags = [flag for option in (*ASKING, *CELL) for flag in option.flags]
    return [flag for flag in flags if event.symbol.startswith("-") and flag.startswith(event.symbol)]
