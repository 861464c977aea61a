"""What every magic shares: declared options, and mistakes shown in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from IPython.core.error import UsageError
from IPython.core.magic import Magics
from IPython.core.magic_arguments import argument, magic_arguments

from ..errors import PhiError
from ..options import Option
from ..phi import Phi

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

Function = TypeVar("Function", bound=Callable[..., Any])


class PhiMagics(Magics):
    """Magics of one shell, with its ``Phi``: the settings that ``%config`` changes and every answer begins from."""

    shell: InteractiveShell
    listeners: Mapping[str, Callable[..., None]] = {}  #: called at events of the shell, by their names

    def __init__(self, shell: InteractiveShell, phi: Phi) -> None:
        super().__init__(shell)
        self.phi = phi


def arguments(*options: Option, name: str | None = None) -> Callable[[Function], Function]:
    """IPython's ``magic_arguments``, for options that are made from the traits.

    Args:
        name: the magic's, where the function has another.
    """

    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = argument(*option.flags, **option.keywords)(function)
        decorated: Function = magic_arguments(name)(function)
        return decorated

    return decorate


@contextmanager
def one_line() -> Iterator[None]:
    """Show a user's mistake, or an interrupt, in one line, as IPython shows a ``UsageError``.

    The exception goes on all the same: the cell fails, and the cells in the queue do not run.
    """
    try:
        yield
    except PhiError as error:
        raise UsageError(str(error)) from None  # this very type: IPython checks for it
    except MemoryError:
        raise UsageError("no memory is left: delete large variables, or restart the kernel") from None
    except KeyboardInterrupt as interrupt:
        # IPython asks an exception for its lines before it makes some of the traceback, which names our files alone.
        interrupt._render_traceback_ = lambda: ["KeyboardInterrupt"]  # type: ignore[attr-defined]
        raise
