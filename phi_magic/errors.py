"""The one error a user's mistake raises."""

from __future__ import annotations


class PhiError(Exception):
    """A mistake that the user can mend: one line that names what was wrong and what to do.

    The magics show it as IPython's ``UsageError``, the terminal prints it and exits with status 2. Line breaks in the
    message, which may quote anything, become spaces, and what cannot be printed is escaped.
    """

    def __init__(self, message: str) -> None:
        line = " ".join(message.splitlines())
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line))


class PromptTooLong(PhiError):
    """A prompt of ``tokens`` tokens, for a context that takes fewer than ``context``."""

    def __init__(self, message: str, tokens: int, context: int) -> None:
        super().__init__(message)
        self.tokens = tokens
        self.context = context

    def __reduce__(self) -> tuple[type[PromptTooLong], tuple[str, int, int]]:
        return type(self), (str(self), self.tokens, self.context)


class WorkerEnded(PhiError):
    """The process that runs the model ended: a crash in native code, the out-of-memory killer, ``kill``."""
