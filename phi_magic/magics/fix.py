"""``%phi_fix``: propose a corrected cell for the one that failed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import line_magic, magics_class, no_var_expand

from ..errors import PhiError, PromptTooLong
from ..fix import failure, prompt
from ..options import ASKING, OUT, Option, overrides, quoting, split, variable
from ..phi import Phi
from ..rendering.formats import next_cell
from .adapting import PhiMagics, one_line
from .adapting import arguments as magic_arguments
from .ask import show, view_for
from .proposing import propose

if TYPE_CHECKING:
    import argparse

    from IPython.core.interactiveshell import ExecutionResult, InteractiveShell

OPTIONS = (
    *(option for option in ASKING if "--schema" not in option.flags),  # an explanation has no schema
    OUT,
    Option(("--vars",), {"action": "store_true", "help": "Send the values of the cell's variables too, cut short."}),
)
#: Exceptions whose message says what to do already, or that the user caused on purpose.
_NOT_TO_FIX = (UsageError, KeyboardInterrupt, SystemExit)


@magics_class
class FixMagics(PhiMagics):
    """The magic of one shell; it remembers the cell that failed last."""

    def __init__(self, shell: InteractiveShell, phi: Phi) -> None:
        super().__init__(shell, phi)
        self.listeners = {"post_run_cell": self._remember}
        self._error: BaseException | None = None
        self._cell = ""
        self._keep(getattr(sys, "last_value", None), "")  # of the time before the extension was loaded

    def _remember(self, result: ExecutionResult) -> None:
        self._keep(result.error_before_exec or result.error_in_exec, result.info.raw_cell if result.info else "")

    def _keep(self, error: BaseException | None, cell: str) -> None:
        if error is not None and not isinstance(error, _NOT_TO_FIX):
            self._error, self._cell = error, cell

    @no_var_expand
    @line_magic
    @magic_arguments(*OPTIONS)
    def phi_fix(self, line: str) -> None:
        """Explain the last exception, and propose the corrected cell; it is never run.

        %phi_fix [options]

        Sent are the cell, functions of other cells on the way to the error, and the message; values of variables are
        not, unless --vars. What is too long for the context is cut. Example: %phi_fix -t 0
        """
        with one_line():
            words, rest = split(line, OPTIONS)
            if rest:
                raise PhiError(
                    f"%phi_fix takes options only, and {rest!r} is none{quoting(words, rest)}: see %phi_fix?"
                )
            arguments = FixMagics.phi_fix.parser.parse_args(words)  # type: ignore[union-attr]
            name, options = variable(arguments.out), overrides(arguments)
            if self._error is None:
                raise PhiError("nothing to fix: no cell has failed")
            self._fix(self._error, arguments, options, name)

    def _fix(
        self, error: BaseException, arguments: argparse.Namespace, options: dict[str, Any], name: str | None
    ) -> None:
        failed = failure(
            error,
            self._cell,
            lambda file: self.shell.compile.format_code_name(file) is not None,
            self.shell.user_ns if arguments.vars else None,
        )
        view = view_for(self.shell, self.phi, arguments, "markdown")
        question, cut = prompt(failed), False
        while True:
            stream = self.phi.stream(question, on_status=view.status, **options)
            try:
                show(self.shell, stream, view, name)
                break
            except PromptTooLong as long:
                shorter = prompt(failed, int(len(question) * 0.7 * long.context / long.tokens))
                if len(shorter) >= len(question):
                    raise
                question, cut = shorter, True
        if stream.reply.finish_reason == "interrupted":
            return
        view.note("the question was cut to fit the context: what is proposed may be a part" if cut else "")
        if code := next_cell(stream.reply.text):
            if not arguments.quiet:
                propose(self.shell, code)
        else:
            view.note("the answer has no Python block: no cell is proposed")
