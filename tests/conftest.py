"""What every test stands on: a shell and folders of its own, and no network but the loopback."""

from __future__ import annotations

import atexit
import os
import runpy
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from tests.slow_model import write_slow_model

PROJECT = Path(__file__).parent.parent
GUARD = Path(__file__).parent / "guard"


def pytest_configure(config):
    # A shell that runs tests in the background has them ignore Ctrl-C, and what they start inherits it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # huggingface_hub reads the environment when it is first imported, so it is set before any test.
    folder = tempfile.mkdtemp(prefix="phi_magic-tests-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING_FACE_", "PHI_MAGIC_"))]:
        del os.environ[name]
    os.environ["HF_HOME"] = folder
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # Threads that spin while they wait take the cores from browsers and kernels beside them, and all become slow.
    os.environ["GOMP_SPINCOUNT"] = "10000"
    # Kernels and other children import phi_magic from this tree and the guard as their sitecustomize.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(GUARD), str(PROJECT)])
    runpy.run_path(str(GUARD / "sitecustomize.py"))


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """Each test has its own home, for IPython, Jupyter, caches and models too, and works in an empty folder."""
    jupyter = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    for name in (*jupyter, "HF_HOME", "HOME", "OLLAMA_MODELS", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:
        monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "hf_home"))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf_home" / "hub"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)


@pytest.fixture
def config():
    """The configuration of `shell`; a test changes it before it asks for the shell."""
    return Config({"HistoryManager": {"enabled": False}, "InteractiveShell": {"colors": "nocolor"}})


@pytest.fixture
def shell(config, tmp_path):
    """A fresh InteractiveShell that keeps what is displayed in `shell.display_pub.outputs`."""
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(
        config=config, ipython_dir=str(tmp_path / "ipythondir"), display_pub_class=CapturingDisplayPublisher
    )
    yield shell
    for name in list(shell.extension_manager.loaded):
        shell.extension_manager.unload_extension(name)
    shell.restore_sys_module_state()
    atexit.unregister(shell.atexit_operations)
    shell.atexit_operations()
    shell.builtin_trap.deactivate()
    InteractiveShell.clear_instance()


@pytest.fixture(scope="session")
def llama_cpp_sources():
    """llama.cpp's sources, which pip fetches once, without the guard that holds the tests to the loopback."""
    from benchmarks.__main__ import FOLDER
    from benchmarks.stand_in import sources

    FOLDER.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONPATH")
        return sources(FOLDER)


@pytest.fixture(scope="session")
def slow_model(tmp_path_factory):
    """The path of a GGUF that writes some fifty words a second for as long as it may: there is time to interrupt it."""
    path = tmp_path_factory.mktemp("slow") / "slow.gguf"
    write_slow_model(path)
    return path


@pytest.fixture
def slow_start(slow_model):
    """A notebook's first cell: the extension, and the slow model on one thread, which waits for no other."""
    return f"%load_ext phi_magic\n%config Phi.model = {str(slow_model)!r}\n%config Phi.n_threads = 1"
