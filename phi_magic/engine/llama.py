"""Load llama.cpp's library once, without its output; keep what it logs for error messages. Only this module imports
it.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import llama_cpp.llama_cpp as _llama_cpp

#: llama.cpp's C API as llama-cpp-python binds it. Its functions take and give pointers; nothing checks them.
C: Any = _llama_cpp

_ERROR = 4  # GGML_LOG_LEVEL_ERROR
_GPUS = (1, 2)  # GGML_BACKEND_DEVICE_TYPE_GPU, and _IGPU, which uses the host's memory
_complaints: deque[str] = deque(maxlen=20)


@C.llama_log_callback  # type: ignore[untyped-decorator]
def _keep(level: int, text: bytes, _: ctypes.c_void_p) -> None:
    if level == _ERROR and text.strip():
        _complaints.append(text.decode("utf-8", "replace").strip())


# The decorated object must outlive the library's use of it, which is why it is a module's global.
C.llama_log_set(_keep, ctypes.c_void_p(0))
C.llama_backend_init()


def complaint() -> str:
    """Return the first error that llama.cpp logged since :func:`forget_complaints`; later ones follow from it."""
    return _complaints[0].rpartition("error loading model: ")[2] if _complaints else "llama.cpp does not say why"


def forget_complaints() -> None:
    _complaints.clear()


@contextmanager
def freed_on_error(owner: Any) -> Iterator[None]:
    """Close an object if its construction fails within this context."""
    try:
        yield
    except BaseException:
        owner.close()
        raise


def gpu_memory() -> int:
    """Bytes of memory that the GPUs have together that this build of llama.cpp can put layers on; 0 without one."""
    if not C.llama_supports_gpu_offload():
        return 0
    from llama_cpp._ggml import libggml

    libggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    libggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    libggml.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    libggml.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p, *[ctypes.POINTER(ctypes.c_size_t)] * 2]
    libggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    free, total, together = ctypes.c_size_t(), ctypes.c_size_t(), 0
    for number in range(libggml.ggml_backend_dev_count()):
        device = libggml.ggml_backend_dev_get(number)
        if libggml.ggml_backend_dev_type(device) in _GPUS:
            libggml.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
            together += total.value
    return together
