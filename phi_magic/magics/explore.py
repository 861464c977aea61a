"""``%phi_explore``: an explorer below the cell that asks for one."""

from __future__ import annotations

from IPython.core.magic import line_magic, magics_class, no_var_expand

from ..errors import PhiError
from ..options import ASKING, overrides, split
from ..phi import Phi
from ..reply import Reply
from .adapting import PhiMagics, one_line
from .adapting import arguments as magic_arguments

OPTIONS = tuple(option for option in ASKING if option.trait or "--raw" in option.flags)


@magics_class
class ExploreMagics(PhiMagics):
    """The magic of one shell, with the ``Phi`` whose settings an explorer's knobs begin with."""

    @no_var_expand
    @line_magic
    @magic_arguments(*OPTIONS)
    def phi_explore(self, line: str) -> None:
        """Show, step by step, what each knob does to the next token of an answer.

        %phi_explore [options] prompt     begin an answer
        %phi_explore VAR                  go through the Reply in this variable

        The knobs are the explorer's own: they change no setting.
        """
        with one_line():
            words, rest = split(line, OPTIONS)
            options = overrides(ExploreMagics.phi_explore.parser.parse_args(words))  # type: ignore[union-attr]
            if not hasattr(self.shell, "kernel"):
                raise PhiError("%phi_explore needs a notebook; phi_magic.distribution gives the figures anywhere")
            from ..widgets.explorer import Explorer

            reply = self.shell.user_ns.get(rest)
            if isinstance(reply, Reply):
                if options:
                    raise PhiError("a Reply is explored with the settings it was made with: leave the options out")
                explorer = Explorer.of(reply)
            else:
                raw = options.pop("raw", False)
                explorer = Explorer(Phi(**self.phi.settings(options)), rest, raw=raw)
            explorer.show()
