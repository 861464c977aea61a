"""What computes an answer. The logits are identical where it is the same, with the same request and model."""

from __future__ import annotations

import hashlib
from functools import cache

from ..machine import capacity, graphics, processor

_LIBRARIES = {".so", ".dylib", ".dll"}


@cache
def computing() -> str:
    """Return what the logits depend on under one plan, as a SHA-256: this package, llama.cpp's libraries, the processor."""
    from importlib.metadata import distribution, version

    files = distribution("llama_cpp_python").files or []
    libraries = sorted(f"{file.name} {file.hash.value}" for file in files if file.hash and file.suffix in _LIBRARIES)
    versions = [f"{name} {version(name)}" for name in ("phi_magic", "llama_cpp_python")]
    return hashlib.sha256("\n".join([*versions, *libraries, processor()]).encode()).hexdigest()


def planning() -> str:
    """Return what the choice of a plan depends on besides the request and the model (``engine/plan.py``)."""
    return ", ".join([f"{capacity()} bytes", *graphics()])


def computer() -> dict[str, str]:
    """Return both, as ``Reply.engine`` records them of another machine."""
    return {"computing": computing()[:12], "planning": planning()}
