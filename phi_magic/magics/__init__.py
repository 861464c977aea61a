"""The magics: options in, calls out. Each file adapts one; this one registers and removes them all."""

from __future__ import annotations

import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from ..conversation import forget
from . import ask, chat, explore, fix, map, models, panel, replay, score, sweep  # noqa: A004 (named for its magic)
from .asking import QuestionMark, Shown
from .completing import IDENTIFIER, Completer, completer, matcher
from .configuring import Phi

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

#: Every class of magics; it is made with the shell and the shell's ``Phi``.
MAGICS: tuple[Any, ...] = (
    ask.AskMagics,
    chat.ChatMagics,
    explore.ExploreMagics,
    fix.FixMagics,
    map.MapMagics,
    models.ModelsMagics,
    panel.PanelMagics,
    replay.ReplayMagics,
    score.ScoreMagics,
    sweep.SweepMagics,
)

#: What Tab offers after a magic's name.
COMPLETERS: dict[str, Completer] = {
    "%phi": completer(ask.OPTIONS),
    "%%phi": completer(ask.OPTIONS),
    "%phi_chat": chat.complete,
    "%phi_explore": completer(explore.OPTIONS, replay.variables),
    "%phi_fix": completer(fix.OPTIONS),
    "%%phi_map": completer(map.OPTIONS, map.tables),
    "%phi_models": models.complete,
    "%phi_panel": completer(panel.OPTIONS),
    "%phi_replay": replay.complete,
    "%%phi_score": completer(score.OPTIONS),
    "%phi_tokens": completer(score.TOKENS),
    "%%phi_sweep": completer(sweep.OPTIONS, sweep.axes),
}


def load(shell: InteractiveShell) -> None:
    """Register the magics, completion, and the one configurable, in place of those that are there already."""
    _remove(shell)
    phi = Phi(parent=shell)
    magics = [kind(shell, phi) for kind in MAGICS]
    shell.register_magics(*magics)
    for one in magics:
        for event, listener in one.listeners.items():
            shell.events.register(event, listener)
    shell.configurables.append(phi)  # type: ignore[arg-type]  # a list of configurables, typed as of shells
    shell.Completer.custom_matchers.append(matcher(shell, COMPLETERS))
    shell.input_transformer_manager.token_transformers.append(QuestionMark)
    shell.ast_transformers.append(Shown())


def unload(shell: InteractiveShell) -> None:
    """Undo :func:`load`, end the model's process, and forget the conversations.

    Every step is done, also where one raises.
    """
    with ExitStack() as steps:  # the last one first
        steps.callback(forget)
        steps.callback(_remove, shell)
        if "phi_magic.generation.worker" in sys.modules:  # else nothing was ever loaded
            from ..generation.worker import shared

            steps.callback(shared.close)
        if "phi_magic.widgets.cells" in sys.modules:  # else nothing was ever shown; a panel's answer ends here
            from ..widgets import cells

            steps.callback(cells.close_all)


def _remove(shell: InteractiveShell) -> None:
    """Remove what :func:`load` registered, as far as it is there."""
    manager = shell.magics_manager
    for kind in MAGICS:
        magics = manager.registry.pop(kind.__name__, None)
        if magics is None:
            continue
        for event, listener in magics.listeners.items():
            with suppress(ValueError):
                shell.events.unregister(event, listener)
        for table in ("line", "cell"):
            for name in magics.magics[table]:
                manager.magics[table].pop(name, None)
    ours = (Phi, *MAGICS)
    shell.configurables[:] = [
        configurable for configurable in shell.configurables if not isinstance(configurable, ours)
    ]
    shell.Completer.custom_matchers[:] = [
        one for one in shell.Completer.custom_matchers if getattr(one, "matcher_identifier", "") != IDENTIFIER
    ]
    transformers = shell.input_transformer_manager.token_transformers
    transformers[:] = [one for one in transformers if one is not QuestionMark]
    shell.ast_transformers[:] = [one for one in shell.ast_transformers if not isinstance(one, Shown)]
