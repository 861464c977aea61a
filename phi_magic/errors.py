"""The one error a user's mistake raises."""


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

    def __init__(self, what: str, tokens: int, context: int, advice: str) -> None:
        super().__init__(f"{what} has {tokens} tokens, the context {context}: {advice}")
        self.tokens = tokens
        self.context = context
