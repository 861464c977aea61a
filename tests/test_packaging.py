"""What leaves this tree: the wheel with the shipped model in it, and a source distribution that stands alone."""

from __future__ import annotations

import os
import re
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging
PROJECT = Path(__file__).parent.parent


def run(*command, cwd=None, **environment):
    done = subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert not done.returncode, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The folder with both; `build` makes the wheel out of the unpacked source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(PROJECT))
    return folder


def test_the_wheel_carries_the_model_and_its_licence(distributions):
    [wheel] = distributions.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.startswith("phi_magic/demo/") and name.endswith(".gguf")]
    assert [name for name in names if name.startswith("phi_magic/demo/LICENSE")]
    assert "phi_magic/py.typed" in names
    assert all(name.startswith(("phi_magic/", "phi_magic-")) for name in names)
    assert wheel.stat().st_size < 4_000_000


def test_the_links_and_the_picture_of_the_readme_are_addresses_where_it_is_shown_alone(distributions):
    [wheel] = distributions.glob("*.whl")
    archive = zipfile.ZipFile(wheel)
    [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    shown = archive.read(metadata).decode().partition("\n\n")[2]
    links = re.findall(r"\]\(([^)]+)\)", shown)
    assert len(links) > 10
    assert all(link.startswith("https://") for link in links)
    assert "/phi-magic/main/docs/images/session.webp)" in shown


def test_the_wheel_answers_in_an_environment_of_its_own(distributions, tmp_path):
    [wheel] = distributions.glob("*.whl")
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    # What it depends on is taken from here: the network is not there, and compiling takes minutes.
    [packages] = (tmp_path / "env").glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(_without_this_project(tmp_path / "dependencies")))
    run(str(python), "-m", "pip", "install", "--no-deps", "--no-index", str(wheel), PYTHONPATH="")
    ask = [str(python), "-m", "phi_magic", "--model", "demo", "--seed", "1", "Write a haiku about ice hockey"]
    answer = run(*ask, cwd=tmp_path, PYTHONPATH="")
    assert answer.strip()
    script = [str(tmp_path / "env" / "bin" / "phi-magic"), *ask[3:]]
    assert run(*script, cwd=tmp_path, PYTHONPATH="") == answer
    where = run(str(python), "-c", "import phi_magic; print(phi_magic.__file__)", cwd=tmp_path, PYTHONPATH="")
    assert where.startswith(str(packages))


def _without_this_project(folder):
    """A folder of links to the installed packages, but not to the editable install of this one."""
    folder.mkdir()
    for packages in site.getsitepackages():
        for path in Path(packages).iterdir():
            if "phi_magic" not in path.name and path.suffix != ".pth":
                (folder / path.name).symlink_to(path)
    return [str(folder)]


def test_the_source_distribution_brings_all_tests_and_what_they_read(distributions, tmp_path):
    [archive] = distributions.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    [tree] = tmp_path.glob("phi_magic-*")
    pytest_there = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]

    def collected(folder):
        return (
            run(*pytest_there, "--collect-only", "-m", "not torture", cwd=folder, PYTHONPATH="")
            .splitlines()[-1]
            .split()[0]
        )

    assert collected(tree) == collected(PROJECT)
    # The tests that ask a model, and those that read the pages, the notebooks and the data of training.
    files = "test_phi test_readme test_docs test_contributing test_binder engine/test_engine training/test_corpus"
    chosen = [f"tests/{name}.py" for name in files.split()]
    assert " passed" in run(*pytest_there, *chosen, cwd=tree, PYTHONPATH="")
    for needed in ("Makefile", "LICENSE", "README.md", "CHANGELOG.md", "examples/quickstart.ipynb", "training"):
        assert (tree / needed).exists(), needed
