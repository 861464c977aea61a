"""``%phi_panel``: a panel below the cell that asks for one."""

from __future__ import annotations

from IPython.core.magic import line_magic, magics_class, no_var_expand

from ..errors import PhiError
from ..options import ASKING, CELL, overrides, split
from ..phi import Phi
from .adapting import PhiMagics, one_line
from .adapting import arguments as magic_arguments

OPTIONS = tuple(
    option for option in (*ASKING, *CELL) if option.trait not in ("", "format") or "--no-vars" in option.flags
)


@magics_class
class PanelMagics(PhiMagics):
    """The magic of one shell, with the ``Phi`` that its panels are linked with."""

    @no_var_expand
    @line_magic
    @magic_arguments(*OPTIONS)
    def phi_panel(self, line: str) -> None:
        """Show a panel: every sampling parameter as a slider, an answer beside them, and the cell that gives it again.

        %phi_panel [prompt]             sliders set what the next %%phi uses, and %config Phi moves the sliders
        %phi_panel [options] [prompt]   a panel with settings that begin as the options say, and change no other cell

        Ctrl+Enter generates. All controls can be reached with Tab.
        """
        with one_line():
            words, prompt = split(line, OPTIONS)
            arguments = PanelMagics.phi_panel.parser.parse_args(words)  # type: ignore[union-attr]
            options = overrides(arguments)
            if not hasattr(self.shell, "kernel"):
                raise PhiError("%phi_panel needs a notebook; in a terminal, %config Phi shows and sets everything")
            from ..prompt.variables import fill
            from ..widgets.panel import Panel

            settings = self.phi
            if options:
                settings = Phi(parent=self.shell, **settings.settings(options))
            fill_in = None if arguments.no_vars else lambda text: fill(text, self.shell.user_ns)
            Panel(settings, prompt, fill=fill_in).saved.show()
