"""The one door to llama.cpp: its library, loaded once, quiet, with what it logs kept for error messages."""

from __future__ import annotations

import ctypes
from collections import deque
from typing import Any

import llama_cpp.llama_cpp as _llama_cpp

#: llama.cpp's C API as llama-cpp-python binds it. Its functions take and give pointers; nothing checks them.
C: Any = _llama_cpp

_ERROR = 4  # GGML_LOG_LEVEL_ERROR
_complaints: deque[str] = deque(maxlen=20)


@C.llama_log_callback  # type: ignore[untyped-decorator]
def _keep(level: int, text: bytes, _: ctypes.c_void_p) -> None:
    if level == _ERROR and text.strip():
        _complaints.append(text.decode("utf-8", "replace").strip())


# The decorated object must outlive the library's use of it, which is why it is a module's global.
C.llama_log_set(_keep, ctypes.c_void_p(0))
C.llama_backend_init()


def complaint() -> str:
    """What llama.cpp complained of since :func:`forget_complaints`: its first error, which the later ones follow from."""
    return _complaints[0].rpartition("error loading model: ")[2] if _complaints else "llama.cpp does not say why"


def forget_complaints() -> None:
    _complaints.clear()


def can_offload() -> bool:
    """Whether this build of llama.cpp can put layers on a GPU."""
    return bool(C.llama_supports_gpu_offload())
