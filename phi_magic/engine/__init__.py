"""The only place that knows llama.cpp."""

from ..interrupt import Stop

# In two pieces: where Ctrl-C breaks the import of a package off, Python may be unable to import it again. Of numpy that
# is certain, and a kernel would need a restart.
with Stop().deferring_interrupts():
    import numpy as np  # noqa: F401
with Stop().deferring_interrupts():
    from . import engine  # noqa: F401
