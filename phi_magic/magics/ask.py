"""``%phi`` and ``%%phi``: options in, calls out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from IPython.core.magic import line_cell_magic, magics_class, needs_local_scope, no_var_expand

from ..display import CellView, QuietView, TerminalView, View
from ..errors import PhiError
from ..options import ASKING, CELL, overrides, quoting, split, unknown, variable
from ..phi import Phi
from ..rendering.formats import next_cell, remark
from ..reply import Reply
from ..running_cell import asking
from .adapting import PhiMagics, one_line
from .adapting import arguments as magic_arguments
from .chat import told
from .completing import says_schema
from .proposing import propose

if TYPE_CHECKING:
    import argparse

    from IPython.core.interactiveshell import InteractiveShell

    from ..generation.stream import Stream
    from ..schema.structure import Structure


OPTIONS = (*ASKING, *CELL)


@magics_class
class AskMagics(PhiMagics):
    """The magic of one shell, with the ``Phi`` whose traits it uses."""

    @no_var_expand  # single braces and dollars are plain text
    @needs_local_scope  # a line in a function sees the function's variables
    @line_cell_magic("phi")  # type: ignore[arg-type]  # IPython declares the form without a name alone
    @magic_arguments(*OPTIONS, name="phi")
    def ask(self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None) -> Reply:
        """Ask the model; its answer streams into the output. Returns the Reply: answer = %phi Hello.

        %phi [options] prompt        one line
        %%phi [options]              the cell's body is the prompt

        The body is a Jinja2 template over the notebook's variables: {{ df.head() }}. {{ file("notes.txt") }} inserts a
        text file. An option holds for this answer alone; %config Phi.temperature = 0.2 sets it for those that follow,
        and %config Phi shows all settings.
        """
        with one_line():
            words, rest = split(line, OPTIONS, prompt=cell is None)
            if cell is not None and rest:
                raise PhiError(
                    f"{rest!r} stands beside the options{quoting(words, rest)}: the prompt goes below the first line"
                )
            arguments: argparse.Namespace = AskMagics.ask.parser.parse_args(words)
            name = variable(arguments.out)
            options = overrides(arguments)
            body = cell if cell is not None else rest
            variables = {**self.shell.user_ns, **(local_ns or {})}
            if not arguments.no_vars:
                from ..prompt.variables import fill

                body = fill(body, variables)
            form = options.get("format", self.phi.format)
            if arguments.schema:
                options["schema"] = schema_of(variables, arguments.schema)
                form = options.get("format", "json")
            prompt = body.strip("\n") if not arguments.raw else body
            if arguments.chat is None:
                view = view_for(self.shell, self.phi, arguments, form)
                stream = self.phi.stream(prompt, on_status=view.status, **options)
            else:
                conversation, asker = self.phi.chat(arguments.chat), asking(self.shell)
                place = conversation.place(**asker)
                again = told(conversation, place)
                view = view_for(self.shell, self.phi, arguments, form, turn=f"{conversation.name}: turn {place + 1}")
                stream = conversation.stream(prompt, **asker, on_status=view.status, on_dropped=view.drop, **options)
                view.note(again)
            show(self.shell, stream, view, name)
            if stream.reply.finish_reason != "interrupted":
                view.note(stream.reply.error or remark(stream.reply.text, form))
                if form == "code" and not arguments.quiet and (code := next_cell(stream.reply.text)):
                    propose(self.shell, code)
            return stream.reply


def schema_of(variables: Mapping[str, Any], name: str) -> Structure:
    """What ``--schema`` names: a variable, or the path of a JSON file.

    Raises:
        PhiError: it is neither.
    """
    from ..schema.structure import read

    if name in variables:
        return read(variables[name])
    if name.isidentifier():
        fit = [name for name, value in variables.items() if not name.startswith("_") and says_schema(value)]
        raise PhiError(unknown(name, fit, "variable"))
    return read(name)


def view_for(shell: InteractiveShell, phi: Phi, arguments: argparse.Namespace, form: str, turn: str = "") -> View:
    """Where an answer is shown: in a cell, in a terminal, or nowhere. The line below it names ``turn``."""
    if arguments.quiet:
        return QuietView()
    options: dict[str, Any] = {"stream": not arguments.no_stream, "show_stats": phi.show_stats, "turn": turn}
    if not hasattr(shell, "kernel"):
        return TerminalView(sys.stdout, sys.stderr, form, **options)
    return CellView(form, refresh_interval=phi.refresh_interval, **options)


def show(shell: InteractiveShell, stream: Stream, view: View, name: str | None) -> None:
    """Show an answer while it comes, and bind it to ``name``, also where something cuts it off.

    Raises:
        KeyboardInterrupt: Ctrl-C came; so that the cells in the queue do not run.
        PhiError: the question cannot be answered, or the worker process ended.
    """

    def finish() -> None:
        if name:
            shell.user_ns[name] = stream.reply
        view.finish(stream.reply)

    with stream.finishing(finish):
        for piece in stream:
            view.grow(stream.reply, piece)
