"""``%phi_panel``: a panel below the cell that asks for one."""

from __future__ import annotations

from IPython.core.magic import line_magic, magics_class, no_var_expand

from ..errors import PhiError
from .adapting import PhiMagics, one_line


@magics_class
class PanelMagics(PhiMagics):
    """The magic of one shell, with the ``Phi`` that its panels are linked with."""

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
            from ..prompt.variables import fill
            from ..widgets.panel import Panel

            Panel(self.phi, line, fill=lambda text: fill(text, self.shell.user_ns)).saved.show()
