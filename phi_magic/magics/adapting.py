"""What every magic needs to stand on IPython: its options declared, its mistakes shown in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    """A user's mistake as IPython shows one: ``UsageError`` itself, since it checks for this very type."""
    try:
        yield
    except PhiError as error:
        raise UsageError(str(error)) from None
    except MemoryError:
        raise UsageError("no memory is left: delete large variables, or restart the kernel") from None
