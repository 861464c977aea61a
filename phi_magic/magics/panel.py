"""``%phi_panel``: a panel below the cell that asks for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand

from ..errors import PhiError
from ..phi import Phi
from .adapting import one_line

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


@magics_class
class PanelMagics(Magics):
    """The magic of one shell, with the ``Phi`` that its panels are linked with."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell, phi: Phi) -> None:
        super().__init__(shell)
        self.settings = phi

    @no_var_expand
    @line_magic
    def phi_panel(self, line: str) -> None:
        """Show a panel: every setting as a slider, an answer beside them, and the cell that gives it again.

        %phi_panel [prompt]

        A slider sets what the next %%phi uses, and %config Phi moves the slider. Settings, buttons and texts can all
        be reached with Tab.
        """
        with one_line():
            if not hasattr(self.shell, "kernel"):
                raise PhiError("%phi_panel needs a notebook; in a terminal, %config Phi shows and sets everything")
            from ..prompt import fill
            from ..widgets.panel import Panel

            Panel(self.settings, line, fill=lambda text: fill(text, self.shell.user_ns)).saved.show()
