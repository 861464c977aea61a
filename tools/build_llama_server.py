"""Build ``llama-server`` from the sources of the llama.cpp that is installed, into ``build/llama-server``, for the tests.

Takes some minutes on two cores. The source distribution of llama-cpp-python brings the sources; the program is of the
same version as the library that answers locally, so that the tests can compare their texts.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
BUILD = PROJECT / "build" / "llama-server"

sys.path.insert(0, str(PROJECT))
from benchmarks.stand_in import sources  # noqa: E402 (the project is not on the path before)

#: No page for browsers, no TLS, nothing that the server does not need.
OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
    "LLAMA_OPENSSL": "OFF",
}


def main() -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    options = [f"-D{name}={value}" for name, value in OPTIONS.items()]
    cmake = shutil.which("cmake") or sys.exit("error: cmake is missing")
    subprocess.run([cmake, "-S", sources(BUILD), "-B", BUILD / "cmake", *options], check=True)
    subprocess.run([cmake, "--build", BUILD / "cmake", "--target", "llama-server", "--parallel", "2"], check=True)


if __name__ == "__main__":
    main()
