"""Make .venv in the project's root and install the package into it, with the extras named: the Makefile calls this.

What is there already is kept: an environment made by hand is adopted, an engine once compiled stays.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
PIP = [str(PYTHON), "-m", "pip", "--disable-pip-version-check"]


def run(*command: str) -> None:
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        sys.exit(f"error: this failed: {' '.join(command)}")


def make_environment() -> None:
    if PYTHON.exists():
        return
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        sys.exit(f"error: this Python makes no environments; Debian and Ubuntu: apt-get install python{version}-venv")
    print(f"Making .venv with Python {sys.version.split()[0]}", flush=True)
    run(sys.executable, "-m", "venv", str(VENV))


def pip_finds(*arguments: str) -> bool:
    result = subprocess.run([*PIP, *arguments], capture_output=True, text=True, check=False)
    return result.returncode == 0 and bool(result.stdout.strip())


def compile_engine() -> None:
    """llama-cpp-python comes as source: install it first and alone, so that the compiler's progress can be shown."""
    if pip_finds("show", "llama-cpp-python"):
        return
    compilers = (os.environ.get("CXX", "c++").split()[0], "g++", "clang++")
    compiled_before = pip_finds("cache", "list", "--format=abspath", "llama_cpp_python")
    if not compiled_before and not any(shutil.which(name) for name in compilers):
        sys.exit(
            "error: no C++ compiler to build llama-cpp-python with; install one: apt-get install g++ (Debian, Ubuntu), "
            "dnf install gcc-c++ (Fedora), xcode-select --install (macOS); docs/install.md has ways without a compiler"
        )
    # Whether pip's copy is one for this Python, only pip knows.
    when = ", unless pip has kept it from before" if compiled_before else ""
    print(f"Compiling llama-cpp-python: this takes minutes (some five on two cores), once{when}.", flush=True)
    match = re.search(r'"(llama-cpp-python\b[^"]*)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    if not match:
        sys.exit("error: pyproject.toml does not ask for llama-cpp-python")
    said: list[str] = []
    tenth = -1
    with subprocess.Popen(
        [*PIP, "install", "--verbose", match.group(1)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        for line in pip.stdout or ():
            said.append(line)
            step = re.search(r"\[(\d+)/(\d+)\]", line)
            if step and (now := 10 * int(step[1]) // int(step[2])) != tenth:
                tenth = now
                print(f"  {step[1]} of {step[2]} files compiled", flush=True)
    if pip.returncode:
        sys.exit("".join(said[-40:]) + "error: llama-cpp-python could not be installed; the lines above say why")


def main() -> None:
    extras = ",".join(sys.argv[1:])
    make_environment()
    compile_engine()
    print(f"Installing phi_magic[{extras}] into .venv", flush=True)
    run(*PIP, "install", "--editable", f".[{extras}]")


if __name__ == "__main__":
    main()
