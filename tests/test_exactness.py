"""The probe tells whether this machine keeps the promise."""

import subprocess
import sys
from contextlib import closing

import pytest

from phi_magic.engine.context import Context
from phi_magic.engine.model import Model
from phi_magic.engine.plan import Plan
from phi_magic.exactness import probe
from phi_magic.models.files import resolve
from tests.architectures import ARCHITECTURES, BORDER, write


@pytest.fixture(scope="module")
def model():
    with closing(Model(resolve("demo").path)) as model:
        yield model


@pytest.mark.parametrize(
    "plan",
    [
        Plan(n_threads=1),
        Plan(n_threads=1, key_type="q8_0"),
        Plan(n_threads=1, flash_attention=True, key_type="q8_0", value_type="q8_0"),
    ],
)
def test_every_way_of_running_that_is_chosen_keeps_the_promise(model, plan):
    assert all(holds for _, holds in probe(model, plan))


def test_a_way_that_cannot_keep_it_is_found_out(model):
    # Flash attention over a cache of 16-bit floats reads 64 tokens and more in another way than fewer.
    found = dict(probe(model, Plan(n_threads=1, flash_attention=True)))
    assert not next(holds for line, holds in found.items() if "slices" in line)


def test_it_runs_on_any_machine(tmp_path):
    command = [sys.executable, "-m", "phi_magic.exactness"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.count("identical") == 6
    missing = subprocess.run([*command, str(tmp_path / "none.gguf")], capture_output=True, text=True, check=False)
    assert missing.returncode == 2
    assert "none.gguf" in missing.stderr
    assert "Traceback" not in missing.stderr


@pytest.mark.parametrize("border", [100, BORDER, 1024])
def test_a_model_with_two_sets_of_rope_factors_is_probed_on_both_sides(tmp_path, border):
    write(tmp_path / "long.gguf", ARCHITECTURES["phi3"], border=border)
    with closing(Model(tmp_path / "long.gguf", border=border)) as model:
        found = dict(probe(model, Plan(n_threads=1)))
        assert all(found.values())
        assert any("RoPE" in line for line in found) == (border >= 256)  # below, every context has the long ones


def test_a_context_that_mixes_rope_factors_is_found_out(tmp_path, monkeypatch):
    write(tmp_path / "long.gguf", ARCHITECTURES["phi3"], border=BORDER)
    monkeypatch.setattr(Context, "fits", lambda self, room: room <= self.size)
    with closing(Model(tmp_path / "long.gguf", border=BORDER)) as model:
        found = dict(probe(model, Plan(n_threads=1)))
    assert [line for line, holds in found.items() if not holds and "RoPE" in line]
