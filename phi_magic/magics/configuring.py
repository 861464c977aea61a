"""The ``Phi`` that ``%config`` sets in a shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import phi as core
from ..errors import PhiError
from ..settings import refused

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config


class Phi(core.Phi):
    """The settings of one shell."""

    parent: InteractiveShell

    def update_config(self, config: Config) -> None:
        """Set what ``%config`` says, all of it, or nothing where a value is wrong: one line says so then.

        IPython 9.18 would log what is raised here, so the line is shown as IPython shows a ``UsageError``.
        """
        traits = self.traits(config=True)
        values = self._find_my_config(config)
        for line in (refused(traits[name], value, self) for name, value in values.items() if name in traits):
            if line:
                self.parent.show_usage_error(PhiError(line))
                return
        super().update_config(config)
