"""The one error a user's mistake raises."""


class PhiError(Exception):
    """A mistake that the user can mend: one line that names what was wrong and what to do.

    The magics show it as IPython's ``UsageError``, the terminal prints it and exits with status 2.
    """
