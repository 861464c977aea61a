"""``%%phi_sweep``: a grid of answers in one output."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, Any

from IPython.core.magic import cell_magic, magics_class, no_var_expand

from ..display import Output
from ..errors import PhiError
from ..options import ASKING, CELL, Option, overrides, quoting, split, variable
from .adapting import PhiMagics, one_line
from .adapting import arguments as magic_arguments
from .ask import schema_of

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

OPTIONS = (
    *(option for option in ASKING if "--no-stream" not in option.flags),
    *(option for option in CELL if option.flags[-1] in ("--out", "--no-vars")),
    Option(("--max",), {"dest": "most", "metavar": "N", "type": int, "help": "The most answers. Default: 256."}),
)


@magics_class
class SweepMagics(PhiMagics):
    """The magic of one shell, with the ``Phi`` whose traits it uses."""

    @no_var_expand
    @cell_magic
    @magic_arguments(*OPTIONS)
    def phi_sweep(self, line: str, cell: str) -> None:
        """Answer a prompt with every combination of some settings, and show the answers as a table.

        %%phi_sweep temperature=0.2,0.8 seed=1:5 top_p=0.5:1:0.1 [options]

        A,B are values; FROM:TO whole numbers, both ends included; FROM:TO:STEP any numbers. The options are those of
        %%phi; -o binds a DataFrame where pandas is there, else a list of Replies. %phi_replay gives each answer again.
        """
        with one_line():
            from ..sweep import MOST, parse

            words, axes = _split(line)
            arguments = SweepMagics.phi_sweep.parser.parse_args(words)  # type: ignore[union-attr]
            name = variable(arguments.out)
            grid = parse(axes, most=arguments.most or MOST)
            if not arguments.no_vars:
                from ..prompt.variables import fill

                cell = fill(cell, self.shell.user_ns)
            prompt = cell if arguments.raw else cell.strip("\n")
            options = overrides(arguments)
            if arguments.schema:
                options["schema"] = schema_of(self.shell.user_ns, arguments.schema)
            self._show(prompt, grid, options, name, quiet=arguments.quiet)

    def _show(self, prompt: str, grid: Any, options: dict[str, Any], name: str | None, *, quiet: bool) -> None:
        from ..sweep import frame, questions, record, table

        output = Output(interval=self.phi.refresh_interval, live=hasattr(self.shell, "kernel"))

        def draw(status: str = "") -> None:
            if not quiet:
                whole = all(reply.timings.total for reply in stream.replies)
                output.draw(lambda: table(grid, stream.replies, status).bundle(whole=False), whole=whole)

        stream = self.phi.stream_all(questions(prompt, grid, options, self.phi.seed), on_status=draw)

        def finish() -> None:
            if name:
                self.shell.user_ns[name] = frame(grid, stream.replies)
            if not quiet:
                cut = any(reply.finish_reason == "interrupted" for reply in stream.replies)
                data = table(grid, stream.replies, "interrupted" * cut).bundle()
                output.show(data, {"phi_magic": record(stream.replies)})

        with stream.finishing(finish):
            for _ in stream:
                draw()


def _split(line: str) -> tuple[list[str], list[str]]:
    """Options and axes, in whatever order they stand.

    Raises:
        PhiError: a word that is no axis and may belong to the option before it.
    """
    options, rest = split(line, OPTIONS)
    newest, axes = options, []
    while rest:
        axis, _, after = rest.partition(" ")
        words = " ".join(takewhile(lambda word: "=" not in word and word[0] != "-", rest.split()))
        if words and (advice := quoting(newest, words)):
            raise PhiError(f"{words!r} stands beside the options{advice}")
        axes.append(axis)
        newest, rest = split(after, OPTIONS)
        options += newest
    return options, axes


def axes(shell: InteractiveShell) -> list[str]:
    """The settings that can be swept, as they stand before their values."""
    from ..sweep import SWEPT

    return [f"{name}=" for name in SWEPT]
