"""``%phi_replay``: run answers again, and say whether they are the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.magic import line_magic, magics_class, no_var_expand

from ..display import Output
from ..errors import PhiError
from ..options import unknown
from ..reply import Reply
from .adapting import PhiMagics, one_line

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from ..recorded import Recorded


@magics_class
class ReplayMagics(PhiMagics):
    """The magic of one shell, with the ``Phi`` whose newest answer it runs again."""

    @no_var_expand
    @line_magic
    def phi_replay(self, line: str) -> None:
        """Run answers again from what was recorded of them, and say whether the text is the same.

        %phi_replay                  the newest answer
        %phi_replay answer           a Reply, a list of them, or the table of a sweep, by its variable's name
        %phi_replay notebook.ipynb   every answer that a saved notebook records

        A difference is shown where it begins. What else is not as it was is named: another file of the model, another
        version of phi_magic, another machine's plan. In a terminal: python -m phi_magic replay notebook.ipynb
        """
        with one_line():
            self._run(self._recorded(line.strip().strip("\"'")))

    def _recorded(self, name: str) -> list[Recorded]:
        from ..recorded import Recorded, recorded_in

        if name.endswith(".ipynb"):
            return recorded_in(Path(name).expanduser())
        if not name:
            if self.phi.last is None:
                raise PhiError("nothing was asked yet: there is no answer to run again")
            return [Recorded.of(self.phi.last, "the newest answer")]
        if name not in self.shell.user_ns:
            raise PhiError(
                unknown(name, variables(self.shell), "variable")
                if name.isidentifier()
                else (f"%phi_replay takes the name of a variable or a file NAME.ipynb, not {name!r}")
            )
        replies = replies_in(self.shell.user_ns[name])
        if not replies:
            raise PhiError(f"{name} is no Reply; bind one with %%phi -o {name}")
        if len(replies) == 1:
            return [Recorded.of(replies[0], name)]
        return [Recorded.of(reply, f"{name}[{at}]") for at, reply in enumerate(replies)]

    def _run(self, answers: list[Recorded]) -> None:
        from ..replay import Outcome, replay, summary

        outcomes: list[Outcome] = []
        output = Output(interval=self.phi.refresh_interval, live=hasattr(self.shell, "kernel"))

        def show(status: str) -> None:
            output.draw(lambda: summary(outcomes, len(answers), status).bundle(whole=False))

        try:
            for recorded in answers:
                show(f"running {recorded.where} again")
                outcomes.append(replay(self.phi, recorded, on_status=show))
        finally:
            output.show(summary(outcomes, len(answers)).bundle())


def replies_in(value: Any) -> list[Reply]:
    """The replies in what a variable holds: one, several, or the column of a sweep's table."""
    if isinstance(value, Reply):
        return [value]
    if "reply" in getattr(value, "columns", ()):
        value = list(value["reply"])
    if isinstance(value, list | tuple) and all(isinstance(item, Reply) for item in value):
        return list(value)
    return []


def variables(shell: InteractiveShell) -> list[str]:
    """The names that hold something to run again."""
    return [name for name, value in shell.user_ns.items() if not name.startswith("_") and replies_in(value)]


def complete(shell: InteractiveShell, event: Any) -> list[str] | None:
    """For Tab: the names of replies, and notebooks in this folder; another path is left to IPython."""
    names = [*variables(shell), *(path.name for path in sorted(Path().glob("*.ipynb")))]
    fit = [name for name in names if name.startswith(event.symbol)]
    return fit or (None if event.symbol else [])
