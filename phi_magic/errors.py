"""The one error a user's mistake raises."""


class PhiError(Exception):
    """A mistake that the user can mend: one line that names what was wrong and what to do.

    The magics show it as IPython's ``UsageError``, the terminal prints it and exits with status 2.
    """


class PromptTooLong(PhiError):
    """The prompt has ``tokens`` tokens, and the context takes fewer than ``context``."""

    def __init__(self, tokens: int, context: int, advice: str) -> None:
        super().__init__(f"the prompt has {tokens} tokens, the context {context}: {advice}")
        self.tokens = tokens
        self.context = context
