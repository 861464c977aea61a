"""What Binder does at a start, with a program that stands for Jupyter's server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

PROJECT = Path(__file__).parent.parent
SERVERS = ["jupyter", "jupyter-lab", "jupyter-notebook", "jupyterhub-singleuser"]


def started(folder, *command):
    """What the program that binder/start ends in was given: its arguments, and the model's name."""
    program = folder / command[0]
    program.write_text(
        f"#!{sys.executable}\nimport os, sys\nprint(*sys.argv[1:], os.environ['PHI_MAGIC_MODEL'], sep='\\n')\n"
    )
    program.chmod(0o755)
    done = subprocess.run(
        [str(PROJECT / "binder" / "start"), *command],
        env={"PATH": f"{folder}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_opens_the_start_page_and_the_shipped_model_is_the_default(tmp_path, server):
    *arguments, model = started(tmp_path, server, "--port=8888")
    assert model == "demo"
    assert arguments[0] == "--port=8888"
    pages = {argument.partition("/lab/tree/")[2] for argument in arguments[1:]}
    assert len(pages) == 1
    start = nbformat.read(PROJECT / pages.pop(), as_version=4)
    sources = "\n".join(cell.source for cell in start.cells)
    assert "%phi_panel" in sources
    assert "%phi_explore" in sources


def test_any_other_command_is_left_as_it_is(tmp_path):
    assert started(tmp_path, "python", "-V") == ["-V", "demo"]


def test_the_start_page_leads_to_every_other_example():
    start = nbformat.read(PROJECT / "examples" / "start.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in start.cells)
    for example in (PROJECT / "examples").glob("*.ipynb"):
        assert example.name == "start.ipynb" or f"]({example.name})" in text


def test_the_image_for_a_class_is_compiled_for_the_same_processors_and_opens_the_same_page():
    image = (PROJECT / "docs" / "Dockerfile").read_text(encoding="utf-8")
    build = (PROJECT / "binder" / "postBuild").read_text(encoding="utf-8")
    switches = re.findall(r'CMAKE_ARGS="(.*)"', image)
    assert switches == re.findall(r'CMAKE_ARGS="(.*)"', build)
    assert "/lab/tree/examples/start.ipynb" in image


def test_the_image_for_a_class_copies_what_the_package_is_built_of():
    image = (PROJECT / "docs" / "Dockerfile").read_text(encoding="utf-8")
    for files in re.findall(r"^COPY (?:--\S+ )?(.+) \S+$", image, re.MULTILINE):
        for name in files.split():
            assert (PROJECT / name).exists()
    assert "COPY pyproject.toml README.md LICENSE " in image
