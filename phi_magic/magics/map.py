"""``%%phi_map``: one answer for each row of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.magic import cell_magic, magics_class, no_var_expand

from ..display import Output
from ..errors import PhiError
from ..options import ASKING, MAPPING, Option, overrides, quoting, split, unknown, variable
from .adapting import PhiMagics, one_line
from .adapting import arguments as magic_arguments
from .ask import schema_of

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from ..tables.labelling import Labelling

OPTIONS = (
    Option(
        ("-o", "--out"),
        {
            "dest": "out",
            "metavar": "VAR",
            "help": "Bind a copy of the table with the answers as columns; of rows that are no table, a list of Replies.",
        },
    ),
    *MAPPING,
    *(option for option in ASKING if "--no-stream" not in option.flags),
)


@magics_class
class MapMagics(PhiMagics):
    """The magic of one shell, with the ``Phi`` whose traits it uses."""

    @no_var_expand
    @cell_magic
    @magic_arguments(*OPTIONS)
    def phi_map(self, line: str, cell: str) -> None:
        """Ask the cell's prompt of every row of a table, and put the answers into new columns.

        %%phi_map DATA -o VAR [options]

        DATA is a pandas or Polars DataFrame, a pyarrow Table, or a list of dicts or texts: a variable, or an expression
        without spaces such as reviews.head(20). The cell's body is a Jinja2 template: its variables are the columns of
        the row (a text is the variable text), row, index, and the notebook's variables. An interrupt keeps all finished
        rows. The options are those of %%phi.
        """
        with one_line():
            from ..tables.labelling import Labelling

            words, data, advice = _split(line)
            arguments = MapMagics.phi_map.parser.parse_args(words)  # type: ignore[union-attr]
            name = variable(arguments.out)
            options = overrides(arguments)
            if arguments.schema:
                options["schema"] = schema_of(self.shell.user_ns, arguments.schema)
            output = Output(interval=self.phi.refresh_interval, live=hasattr(self.shell, "kernel"))

            def show_status(text: str) -> None:
                if not arguments.quiet:
                    output.draw(lambda: labelling.bundle(text))

            labelling = Labelling(
                self.phi.stream_all,
                _evaluated(self.shell, data, advice),
                cell if arguments.raw else cell.strip("\n"),
                variables=self.shell.user_ns,
                into=arguments.into,
                on_error=arguments.on_error,
                executor=_executor(self.shell, arguments.executor),
                on_status=show_status,
                **options,
            )
            show_status("")
            self._run(labelling, output, name, quiet=arguments.quiet)

    def _run(self, labelling: Labelling, output: Output, name: str | None, *, quiet: bool) -> None:
        """Answer, show and bind, also where something cuts it off."""

        def finish() -> None:
            if name:
                self.shell.user_ns[name] = labelling.result()
            if not quiet:
                note = "" if name else "-o VAR would bind the answers"
                output.show(labelling.final_bundle(note=note), {"phi_magic": labelling.record()})

        with labelling.stream.finishing(finish):
            for _ in labelling:
                if not quiet:
                    progress = labelling.progress
                    output.draw(labelling.bundle, whole=progress.done == progress.count)


def _split(line: str) -> tuple[list[str], str, str]:
    """The options of a line, the one word beside them, and advice if that word may belong to the option before it."""
    before, rest = split(line, OPTIONS)
    data, _, after = rest.partition(" ")
    words, more = split(after, OPTIONS, prompt=False)
    if not data:
        raise PhiError("%%phi_map needs the rows to ask about: %%phi_map DATA -o VAR")
    if more:
        advice = quoting(words, more) if words else quoting(before, " ".join(rest.split()[:-1]))
        raise PhiError(
            f"{more!r} stands beside {data}{advice}: an expression with spaces needs a variable; the prompt goes below"
        )
    return before + words, data, quoting(before, data)


def _evaluated(shell: InteractiveShell, data: str, advice: str) -> Any:
    """What a variable or an expression of the notebook stands for."""
    if data.isidentifier() and data not in shell.user_ns:
        raise PhiError(unknown(data, tables(shell), "variable") + advice)
    try:
        return shell.ev(data)
    except Exception as error:  # the expression is the user's program
        raise PhiError(f"{data} failed with {type(error).__name__}: {error}") from error


def _executor(shell: InteractiveShell, name: str | None) -> Any:
    """The executor that a variable holds; None where none is named."""
    if name is None:
        return None
    if name not in shell.user_ns:
        known = [name for name, value in shell.user_ns.items() if callable(getattr(value, "submit", None))]
        raise PhiError(unknown(name, known, "variable"))
    return shell.user_ns[name]


def tables(shell: InteractiveShell) -> list[str]:
    """The names of variables that hold rows."""
    return [
        name
        for name, value in shell.user_ns.items()
        if not name.startswith("_")
        and name not in shell.user_ns_hidden
        and (hasattr(value, "columns") or (isinstance(value, list) and value))
    ]
