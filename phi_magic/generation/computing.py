"""What computes an answer: this package, llama.cpp's libraries, the processor. The same of these gives the same bits."""

from __future__ import annotations

import hashlib
from functools import cache

from ..machine import processor

_LIBRARIES = {".so", ".dylib", ".dll"}


@cache
def computing() -> str:
    """Return what the bits of an answer depend on besides the request and the model, as a SHA-256 in hexadecimal."""
    from importlib.metadata import distribution, version

    files = distribution("llama_cpp_python").files or []
    libraries = sorted(f"{file.name} {file.hash.value}" for file in files if file.hash and file.suffix in _LIBRARIES)
    versions = [f"{name} {version(name)}" for name in ("phi_magic", "llama_cpp_python")]
    return hashlib.sha256("\n".join([*versions, *libraries, processor()]).encode()).hexdigest()
