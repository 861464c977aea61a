"""The only place that knows llama.cpp."""

from ..interrupt import Stop

# Where Ctrl-C breaks its import off, numpy cannot be imported again in that process: a kernel would need a restart.
with Stop().deferring_interrupts():
    import numpy as np  # noqa: F401
