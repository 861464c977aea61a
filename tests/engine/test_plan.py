"""What of llama.cpp's many ways is chosen, for a machine and a model."""

from dataclasses import replace

import pytest

from phi_magic import machine as this_machine
from phi_magic.engine import llama, plan
from phi_magic.engine.memory_estimate import estimate_memory
from phi_magic.engine.plan import choose
from phi_magic.gguf.checks import read_header
from phi_magic.machine import physical_cores
from phi_magic.models.files import resolve


@pytest.fixture
def header():
    """The shipped model, a thousand times as heavy: about as Phi-3-mini."""
    header = read_header(resolve("demo").path)
    return replace(header, tensors=1000 * header.tensors)


def with_gpu(monkeypatch, memory):
    monkeypatch.setattr(llama, "gpu_memory", lambda: memory)


def test_without_a_gpu_no_layer_is_offloaded_whatever_is_asked(header, monkeypatch):
    with_gpu(monkeypatch, 0)
    assert choose(header).n_gpu_layers == 0
    assert choose(header, n_gpu_layers=5).n_gpu_layers == 0


def test_a_gpu_takes_all_layers_where_the_model_fits_it_and_none_where_not(header, monkeypatch):
    need = estimate_memory(header, n_ctx=4096).total
    with_gpu(monkeypatch, 2 * need)
    assert choose(header).n_gpu_layers == -1
    with_gpu(monkeypatch, need)
    assert choose(header).n_gpu_layers == 0
    assert choose(header, n_gpu_layers=5).n_gpu_layers == 5


def test_this_build_says_how_much_memory_its_gpus_have():
    assert (llama.gpu_memory() > 0) == bool(llama.C.llama_supports_gpu_offload())


def test_the_profile_follows_the_machine_and_the_model(header, monkeypatch):
    need = estimate_memory(header, n_ctx=4096).total
    monkeypatch.setattr(plan, "capacity", lambda: 2 * need)
    assert not choose(header).flash_attention
    monkeypatch.setattr(plan, "capacity", lambda: need)
    assert choose(header).key_type == choose(header).value_type == "q8_0"
    fast = choose(header, profile="speed")
    assert (fast.key_type, fast.value_type, fast.flash_attention, fast.mmap) == ("q8_0", "f16", False, False)


def test_a_small_model_keeps_sixteen_bits_and_so_does_one_whose_heads_cannot_be_quantised(header):
    assert choose(header).key_type == "q8_0"
    assert choose(replace(header, tensors=header.tensors[:1])).key_type == "f16"
    narrow = replace(header, metadata={**header.metadata, "phi3.attention.key_length": 80})
    for profile in ("auto", "memory"):
        plan = choose(narrow, profile=profile)
        assert (plan.key_type, plan.value_type, plan.flash_attention) == ("f16", "f16", False)


def test_a_small_model_runs_on_one_thread(header):
    small = read_header(header.path)
    assert choose(small).n_threads == 1
    assert choose(small, n_threads=2).n_threads == 2
    assert choose(header).n_threads == physical_cores()


def machine(root, quota=None, siblings=("0-1", "0-1", "2-3", "2-3")):
    for cpu, together in enumerate(siblings):
        folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(together)
    if quota:
        (root / "sys/fs/cgroup").mkdir(parents=True)
        (root / "sys/fs/cgroup/cpu.max").write_text(quota)
    return root


def test_hyper_threads_count_once_and_the_cgroup_s_quota_is_respected(tmp_path, monkeypatch):
    monkeypatch.setattr(this_machine.os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    assert physical_cores(machine(tmp_path / "plain")) == 2
    assert physical_cores(machine(tmp_path / "limited", quota="100000 100000")) == 1
    assert physical_cores(machine(tmp_path / "unlimited", quota="max 100000")) == 2
    monkeypatch.setattr(this_machine.os, "sched_getaffinity", lambda _: {2, 3})
    assert physical_cores(tmp_path / "plain") == 1
