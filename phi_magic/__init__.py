"""A local language model in a notebook: ``%load_ext phi_magic``, then ``%%phi``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import views  # noqa: F401 (it registers itself)

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from .errors import PhiError
    from .phi import Phi
    from .reply import Message, Reply
    from .sampling import distribution, stages

__all__ = ["Message", "Phi", "PhiError", "Reply", "distribution", "stages"]

_HOMES = {
    "Phi": "phi",
    "PhiError": "errors",
    "Message": "reply",
    "Reply": "reply",
    "distribution": "sampling",
    "stages": "sampling",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when first used: loading the extension stays instant."""
    if name == "__version__":
        from importlib.metadata import version

        return version("phi_magic")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def load_ipython_extension(shell: InteractiveShell) -> None:
    """``%load_ext phi_magic``: register the magics and ``Phi``'s traits."""
    from .magics import load

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """``%unload_ext phi_magic``: free the model and leave the shell as it was."""
    from .magics import unload

    unload(shell)
