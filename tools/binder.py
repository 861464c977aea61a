"""Build what Binder builds, start it as Binder does, ask a question, and measure: for docs/install.md.

python tools/binder.py [--write] [--compile]

The steps are those of repo2docker 2026.04 for a repository with binder/runtime.txt, in its order of files: a Python
environment; binder/apt.txt, environment.yml and requirements.txt, of which this project has none; binder/postBuild in a
clone; binder/start with the server's command at every start. The image's Ubuntu and its conda are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import nbformat
import websocket

PROJECT = Path(__file__).resolve().parent.parent
PAGE = PROJECT / "docs" / "install.md"
BEGIN, END = "<!-- figures: made by tools/binder.py -->", "<!-- end of figures -->"
START = "examples/start.ipynb"
MEMORY = 2e9  # bytes that mybinder.org gives to a user
BUILT = {"runtime.txt", "postBuild", "start"}  # the files that this program knows how to follow
TIMEOUT = 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the figures into docs/install.md")
    parser.add_argument(
        "--compile", action="store_true", help="compile llama.cpp, as Binder must; else from pip's cache"
    )
    options = parser.parse_args()
    unknown = {path.name for path in (PROJECT / "binder").iterdir()} - BUILT
    if unknown:
        sys.exit(f"error: binder/{min(unknown)} is a step that this program does not follow")
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), compile_engine=options.compile)
    print(figures)
    if options.write:
        page = PAGE.read_text(encoding="utf-8")
        before, after = page.partition(BEGIN)[0], page.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n\n{figures}\n\n{END}{after}", encoding="utf-8")


def measure(folder: Path, *, compile_engine: bool) -> str:
    """Build and start in an empty folder; returns the table of what was seen."""
    clone, home, environment = folder / "clone", folder / "home", folder / "environment"
    home.mkdir()
    run("git", "clone", "--quiet", str(PROJECT), str(clone))
    wanted = (clone / "binder" / "runtime.txt").read_text(encoding="utf-8").strip().replace("-", "")
    python = wanted if runs(wanted) else sys.executable
    run(python, "-m", "venv", str(environment))
    names = {"HOME": str(home), "VIRTUAL_ENV": str(environment), "LANG": "en_US.UTF-8"}
    env = {**names, "PATH": f"{environment / 'bin'}:{os.environ['PATH']}"}
    env |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
    if not compile_engine:  # with the user's own pip and its cache
        run(str(environment / "bin" / "pip"), "install", "--quiet", "llama-cpp-python>=0.3.36,<0.4")
    version = output(str(environment / "bin" / "python"), "-c", "import platform; print(platform.python_version())")
    begun = time.monotonic()
    run("./binder/postBuild", cwd=clone, env=env)
    built = time.monotonic() - begun
    size = used(environment) + used(clone)
    with server(clone, env) as (url, pid, started):
        seconds = ask(url, clone)
        shares = memory_of(pid)
    total = sum(shares.values())
    if total > MEMORY:
        sys.exit(f"error: {total / 1e9:.2f} GB are more than Binder gives")
    engine = (
        "llama.cpp compiled"
        if compile_engine
        else "llama.cpp from pip's cache: Binder compiles it, which takes minutes"
    )
    parts = ", ".join(f"{name} {memory / 1e6:.0f} MB" for name, memory in shares.items())
    return "\n".join(
        [
            "| what | seen |",
            "| --- | --- |",
            f"| `binder/postBuild` | {built:.0f} s ({engine}) |",
            f"| environment and clone on the disk | {size / 1e9:.2f} GB |",
            f"| the server answers after | {started:.1f} s |",
            f"| from a new kernel to the first answer, `%load_ext` and the model's load included | {seconds:.1f} s |",
            f"| memory (PSS) after that answer, of 2 GB | {total / 1e6:.0f} MB: {parts} |",
            "",
            f"Seen on {time.strftime('%Y-%m-%d')} with Python {version}, {os.cpu_count()} cores, {platform.machine()}.",
        ]
    )


def run(*command: str, **options: Any) -> None:
    if subprocess.run(command, check=False, **options).returncode:
        sys.exit(f"error: this failed: {' '.join(command)}")


def runs(command: str) -> bool:
    """Whether there is such a Python, and not only its name."""
    return bool(shutil.which(command)) and not subprocess.run([command, "-c", ""], check=False).returncode


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def used(folder: Path) -> int:
    """The bytes that a folder takes on the disk."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


@contextmanager
def server(clone: Path, env: dict[str, str]) -> Iterator[tuple[str, int, float]]:
    """Jupyter's server behind binder/start: its address, its process, and how long it took to answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["./binder/start", "jupyter", "lab", "--ip=127.0.0.1", f"--port={port}", "--no-browser", "--allow-root"]
    command += ["--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True"]
    begun = time.monotonic()
    with subprocess.Popen(command, cwd=clone, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            while True:
                try:
                    get(f"{url}/api/status")
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() - begun > TIMEOUT:
                        sys.exit("error: the server does not answer")
                    time.sleep(0.05)
            yield url, process.pid, time.monotonic() - begun
        finally:
            process.terminate()


def get(url: str, data: Any = None) -> bytes:
    body = None if data is None else json.dumps(data).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=TIMEOUT) as answer:  # noqa: S310
        return bytes(answer.read())


def ask(url: str, clone: Path) -> float:
    """Open the start page, and run its cells up to the first answer; returns the seconds that this took."""
    get(f"{url}/lab/tree/{START}")
    begun = time.monotonic()
    model = {"path": START, "name": START, "type": "notebook", "kernel": {"name": "python3"}}
    kernel = json.loads(get(f"{url}/api/sessions", model))["kernel"]["id"]
    page = nbformat.read(clone / START, as_version=4)
    answered = False
    sources = [cell.source for cell in page.cells if cell.cell_type == "code"]
    with closing(
        websocket.create_connection(f"{url.replace('http', 'ws')}/api/kernels/{kernel}/channels", timeout=TIMEOUT)
    ) as channel:
        for source in sources:
            for message in executed(channel, source):
                if message["msg_type"] == "error":
                    sys.exit(f"error: {source!r} failed: {message['content']['evalue']}")
                answered |= bool(message["content"].get("metadata", {}).get("phi_magic"))
            if answered:
                return time.monotonic() - begun
    sys.exit(f"error: {START} asks nothing")


def executed(channel: Any, source: str) -> Iterator[dict[str, Any]]:
    """The messages of one cell, until the kernel is idle again."""
    name = uuid.uuid4().hex
    header = {"msg_id": name, "msg_type": "execute_request", "session": name, "username": "", "version": "5.3"}
    content = {"code": source, "silent": False, "store_history": True, "allow_stdin": False}
    channel.send(
        json.dumps({"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"})
    )
    while True:
        message = json.loads(channel.recv())
        if message["parent_header"].get("msg_id") != name:
            continue
        yield message
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            return


def memory_of(pid: int) -> dict[str, int]:
    """The proportional set size of a server, its kernels and their model's workers, each by name, in bytes."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
    family = [pid]
    for one in family:
        family += [child for child, parent in parents.items() if parent == one]
    shares = dict.fromkeys(("server", "kernel", "worker"), 0)
    for one in family:
        command = Path(f"/proc/{one}/cmdline").read_text(encoding="utf-8").replace("\0", " ")
        name = "kernel" if "ipykernel" in command else "worker" if "phi_magic" in command else "server"
        share = re.search(
            r"^Pss:\s+(\d+) kB", Path(f"/proc/{one}/smaps_rollup").read_text(encoding="utf-8"), re.MULTILINE
        )
        shares[name] += 1024 * int(share[1]) if share else 0
    return shares


if __name__ == "__main__":
    main()
