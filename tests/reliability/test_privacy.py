"""With a model that is here, nothing asks for a socket, and only the named file and the hash of the model are written."""

from __future__ import annotations

import os
from pathlib import Path

from tests.reliability.models import DEMO

# An audit hook sees every socket and file of every library, and cannot be taken off. Python imports this module at its
# start; the kernel begins to watch once IPython is there, and the model's process at once.
SITE = """
import os, sys
LOG = os.open(os.environ["WATCH_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
CHANGES = ("os.mkdir", "os.rmdir", "os.rename", "os.remove", "os.truncate", "os.link", "os.symlink", "shutil.copyfile")
def watch(event, arguments):
    if event.startswith(("socket.", "urllib.", "http.", "smtplib.", "ftplib.")):
        os.write(LOG, f"socket {os.getpid()} {event}\\n".encode())
    paths = arguments[:2] if event in CHANGES else ()  # of some events the second is where to
    if event == "open":
        path, mode, flags = arguments
        if (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or any(letter in (mode or "") for letter in "wax+"):
            paths = [path]
    for path in paths:
        if isinstance(path, (str, bytes, os.PathLike)):
            path = os.path.abspath(os.fsdecode(path))
            if "__pycache__" not in path and path not in (os.devnull, "/proc/self/oom_score_adj"):
                os.write(LOG, f"write {os.getpid()} {path}\\n".encode())
def begin():
    os.environ["WATCH"] = "1"
    os.write(LOG, f"watching {os.getpid()}\\n".encode())
    sys.addaudithook(watch)
if "WATCH" in os.environ:
    begin()
"""

WATCH = """
import json, os, sys
from pathlib import Path
outcome, model = sys.argv[1:]
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
shell.Completer.use_jedi = False  # it keeps a cache of its own
import sitecustomize
sitecustomize.begin()
shell.run_line_magic("load_ext", "phi_magic")
from phi_magic import Phi
from phi_magic.__main__ import main
from phi_magic.widgets.explorer import Explorer
from phi_magic.widgets.panel import Panel
def cell(name, options, body=None):
    if body is None:
        shell.run_line_magic(name, options)
    else:
        shell.run_cell_magic(name, options, body)
ENTRY = shell.user_ns["ENTRY"] = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
for path in ("demo", model):
    shell.run_line_magic("config", f"Phi.model = {path!r}")
    cell("phi", "-q -n 8 -o reply", "Write a haiku about {{ 1 + 1 }}")
    cell("phi", "-q -n 8 --chat c", "Write a haiku")
    cell("phi", "-n 8 -f tokens", "ice")
    cell("phi", "-q -n 20 --schema ENTRY", "ice")
    cell("phi_sweep", "seed=1,2 -n 4", "ice")
    cell("phi_chat", "show c")
    cell("phi_replay", "reply")
    cell("phi_models", "info " + path)
    cell("phi_models", "load")
    cell("phi_models", "unload")
    Phi(model=path).map(["ice"], progress=False, max_tokens=2)
    Phi(model=path).chat("c").save("saved.json")
    shell.run_cell("1 / 0")
    cell("phi_fix", "-q -n 8 -o fixed")
    assert shell.user_ns.pop("fixed").text
    assert main(["-q", "-n", "4", "-m", path, "ice"]) == 0
    panel, explorer = Panel(Phi(model=path, max_tokens=8), "ice"), Explorer(Phi(model=path), "ice")
    panel.ask()
    panel.wait()
    assert panel.reply.text
    explorer.begin()
    explorer.wait()
    [column] = explorer.columns
    shown = column.bars.view
    explorer.settings.temperature = 2.0
    assert column.bars.view != shown
    panel.close()
    explorer.close()
cell("phi_models", "list")
for line in ("%phi --temp", "%%phi -m dem", "%%phi -c c", "%phi_models info dem", "%phi_replay rep"):
    assert shell.complete(line.split()[-1], line, len(line))[1], line
shell.run_line_magic("unload_ext", "phi_magic")
os._exit(0 if sys.modules["huggingface_hub.constants"].HF_HUB_DISABLE_TELEMETRY else 1)
"""


def test_a_model_that_is_here_needs_no_socket_and_writes_only_its_hash(child, figure, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY")
    # `owner/repo/file.gguf` in the hub's cache, as huggingface_hub lays it out
    name = "models--owner--repo"
    folder = tmp_path / "hf_home" / "hub" / name
    for part in ("blobs", "refs", "snapshots/" + "0" * 40):
        (folder / part).mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "blobs" / ("a" * 64)).write_bytes(DEMO.read_bytes())
    (folder / "snapshots" / ("0" * 40) / "model.gguf").symlink_to(folder / "blobs" / ("a" * 64))
    log = tmp_path / "log"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=os.pathsep)
    monkeypatch.setenv("WATCH_LOG", str(log))
    child(WATCH, "owner/repo/model.gguf")
    seen = [line.split(" ", 2) for line in log.read_text().splitlines()]
    assert len({pid for kind, pid, *_ in seen if kind == "watching"}) >= 2  # the kernel and the model's process
    assert [what for kind, _, *what in seen if kind == "socket"] == []
    written = {what for kind, _, *rest in seen if kind == "write" for what in rest}
    saved = str(tmp_path / "work" / "saved.json")
    assert saved in written  # the watch sees what is written
    cache = tmp_path / "xdg_cache_home" / "phi_magic"
    hashes = {path for path in written if Path(path) == cache.parent or Path(path).is_relative_to(cache)}
    assert written - hashes == {path for path in written if "saved.json" in path}
    assert all(Path(path) in {cache.parent, cache} or Path(path).is_relative_to(cache / "sha256") for path in hashes)
    figure(
        "Sockets and files of a session with a cached model",
        "no socket; written were the named file and, in the cache folder, the hash of the model",
    )
