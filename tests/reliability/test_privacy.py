"""With a model that is here, nothing asks for a socket, and nothing is written but what the user names."""

from __future__ import annotations

from tests.reliability.models import DEMO

# An audit hook sees every socket, file and process of every library, and cannot be taken off.
WATCH = """
import json, os, sys
from pathlib import Path
outcome, model, allowed = sys.argv[1:]
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
sockets, written = [], []
def watch(event, arguments):
    if event.startswith(("socket.", "urllib.", "http.", "smtplib.", "ftplib.")):
        sockets.append(event)
    writes = event == "open" and isinstance(arguments[1], str) and any(letter in arguments[1] for letter in "wax+")
    made = event in ("os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink", "shutil.copyfile")
    if (writes or made) and isinstance(arguments[0], (str, bytes, os.PathLike)):
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if "__pycache__" not in path and path != os.devnull:
            written.append(path)
sys.addaudithook(watch)
shell.run_line_magic("load_ext", "phi_magic")
from phi_magic import Phi
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
cell("phi_models", "list")
shell.run_line_magic("unload_ext", "phi_magic")
outside = [path for path in written if not path.startswith(allowed)]
Path(outcome).write_text(json.dumps({"sockets": sockets, "outside": outside, "written": written,
                                     "telemetry": sys.modules["huggingface_hub.constants"].HF_HUB_DISABLE_TELEMETRY}))
"""


def test_a_model_that_is_here_needs_no_socket_and_writes_nothing(child, figure, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY")
    # `owner/repo/file.gguf` in the hub's cache, as huggingface_hub lays it out
    name = "models--owner--repo"
    folder = tmp_path / "hf_home" / "hub" / name
    for part in ("blobs", "refs", "snapshots/" + "0" * 40):
        (folder / part).mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "blobs" / ("a" * 64)).write_bytes(DEMO.read_bytes())
    (folder / "snapshots" / ("0" * 40) / "model.gguf").symlink_to(folder / "blobs" / ("a" * 64))
    seen = child(WATCH, "owner/repo/model.gguf", tmp_path / "work")
    assert seen["sockets"] == []
    assert seen["telemetry"] is True
    assert [path for path in seen["outside"] if "outcome.json" not in path] == []
    assert any("saved.json" in path for path in seen["written"])  # the watch sees what is written
    figure("Sockets and files of a session with a cached model", "no socket; written was the file that was named")
