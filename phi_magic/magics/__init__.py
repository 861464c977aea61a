"""The magics: options in, calls out. Each file adapts one; here they come and go together."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..conversation import forget
from ..phi import Phi
from . import ask, chat, explore, fix, models, panel, replay, sweep
from .completing import Completer, completer

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

#: Every class of magics; it is made with the shell and the shell's ``Phi``.
MAGICS: tuple[Any, ...] = (
    ask.AskMagics,
    chat.ChatMagics,
    explore.ExploreMagics,
    fix.FixMagics,
    models.ModelsMagics,
    panel.PanelMagics,
    replay.ReplayMagics,
    sweep.SweepMagics,
)

#: What Tab offers after a magic's name.
COMPLETERS: dict[str, Completer] = {
    "%phi": completer(ask.OPTIONS),
    "%%phi": completer(ask.OPTIONS),
    "%phi_chat": chat.complete,
    "%phi_explore": completer(explore.OPTIONS, replay.variables),
    "%phi_fix": completer(fix.OPTIONS),
    "%phi_models": models.complete,
    "%phi_replay": replay.complete,
    "%%phi_sweep": completer(sweep.OPTIONS, sweep.axes),
}


def load(shell: InteractiveShell) -> None:
    """Register the magics, completion, and the one configurable."""
    phi = Phi(parent=shell)
    magics = [kind(shell, phi) for kind in MAGICS]
    shell.register_magics(*magics)
    for event, listener in _listeners(magics):
        shell.events.register(event, listener)
    shell.configurables.append(phi)  # type: ignore[arg-type]  # a list of configurables, typed as of shells
    for name, complete in COMPLETERS.items():
        shell.set_hook("complete_command", complete, str_key=name)


def unload(shell: InteractiveShell) -> None:
    """Undo :func:`load`, free the model, and forget the conversations."""
    manager = shell.magics_manager
    for kind in MAGICS:
        magics = manager.registry.pop(kind.__name__)
        for event, listener in _listeners([magics]):
            shell.events.unregister(event, listener)
        for table in ("line", "cell"):
            for name in magics.magics[table]:
                manager.magics[table].pop(name, None)
    ours = (Phi, *MAGICS)
    shell.configurables[:] = [
        configurable for configurable in shell.configurables if not isinstance(configurable, ours)
    ]
    for name in COMPLETERS:
        shell.strdispatchers["complete_command"].strs.pop(name, None)
    if "phi_magic.widgets.cells" in sys.modules:  # else nothing was ever shown
        from ..widgets import cells

        cells.close_all()
    if "phi_magic.generation.worker" in sys.modules:  # else nothing was ever loaded
        from ..generation.worker import shared

        shared.close()
    forget()


def _listeners(magics: Iterable[Any]) -> Iterator[tuple[str, Callable[..., None]]]:
    """What the magics want to be told by the shell: the names of its events, with whom to call."""
    for one in magics:
        yield from getattr(one, "listeners", {}).items()
