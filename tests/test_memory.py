"""What a process may use, what a model will take, and whether llama.cpp agrees."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from phi_magic.engine.memory_estimate import Need, estimate_memory, refusal
from phi_magic.gguf.checks import read_header
from phi_magic.machine import Budget, available, capacity, graphics

DEMO = Path(__file__).parent.parent / "phi_magic" / "demo" / "phi-demo.gguf"
MB, GB = 10**6, 10**9
UNLIMITED = 9223372036854771712  # what cgroup v1 says where there is no limit


@pytest.fixture
def machine(tmp_path):
    """A file system with 64 GB of free memory; `put` writes further files."""
    root = tmp_path / "root"

    def put(path, content):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"{content}\n")
        return root

    put("proc/meminfo", "MemTotal: 99999999 kB\nMemAvailable: 64000000 kB\nSwapFree: 99999999 kB")
    return put


def v2(put, path, *, limit="max", used=0, stat="", **more):
    put(f"sys/fs/cgroup{path}/memory.max", limit)
    put(f"sys/fs/cgroup{path}/memory.current", used)
    put(f"sys/fs/cgroup{path}/memory.stat", stat)
    for name, content in more.items():
        put(f"sys/fs/cgroup{path}/memory.{name}", content)
    put("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw")
    return put("proc/self/cgroup", f"0::{path or '/'}")


def v1(put, path, *, limit=UNLIMITED, used=0, stat="", inside="/", named=None):
    put(f"sys/fs/cgroup/memory{path}/memory.limit_in_bytes", limit)
    put(f"sys/fs/cgroup/memory{path}/memory.usage_in_bytes", used)
    put(f"sys/fs/cgroup/memory{path}/memory.stat", stat)
    put("proc/self/mountinfo", f"35 31 0:32 {inside} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory")
    return put("proc/self/cgroup", f"5:cpu,cpuacct:/elsewhere\n4:memory:{named or path or '/'}\n0::/")


def test_without_a_limit_it_is_what_the_machine_has_free(machine):
    assert available(machine("proc/self/cgroup", "0::/")) == Budget(64_000_000 * 1024, "free memory")


def test_a_cgroups_limit_less_what_is_used(machine):
    budget = available(v2(machine, "/user/kernel", limit=2 * GB, used=500 * MB))
    assert budget == Budget(1500 * MB, "what a cgroup limit of 2 GB leaves")


def test_cached_files_in_a_cgroup_give_way(machine):
    stat = f"anon {100 * MB}\nfile {400 * MB}\ninactive_file {250 * MB}\nactive_file {100 * MB}\nslab_reclaimable {50 * MB}"
    assert available(v2(machine, "/kernel", limit=2 * GB, used=500 * MB, stat=stat)).bytes == 1900 * MB


def test_the_tightest_of_nested_cgroups_counts(machine):
    v2(machine, "", limit=8 * GB, used=7 * GB)
    v2(machine, "/user", limit=3 * GB, used=2500 * MB)
    assert available(v2(machine, "/user/kernel", limit=2 * GB, used=100 * MB)).bytes == 500 * MB


def test_where_a_cgroup_is_slowed_down_counts_as_its_limit(machine):
    assert available(v2(machine, "/kernel", limit=4 * GB, used=GB, high=2 * GB)).bytes == GB


def test_a_cgroup_beyond_its_limit_leaves_less_than_nothing(machine):
    assert available(v2(machine, "/kernel", limit=GB, used=2 * GB)).bytes == -GB


def test_the_first_version_of_cgroups(machine):
    stat = f"inactive_file 1\ntotal_inactive_file {150 * MB}\ntotal_active_file {50 * MB}"
    v1(machine, "")
    assert available(v1(machine, "/docker/x", limit=2 * GB, used=700 * MB, stat=stat)).bytes == 1500 * MB


def test_a_container_that_sees_its_place_on_the_host(machine):
    root = v1(machine, "", limit=2 * GB, used=500 * MB, inside="/docker/abc", named="/docker/abc")
    assert available(root).bytes == 1500 * MB
    root = v1(machine, "", limit=2 * GB, used=500 * MB, named="/docker/not-visible-here")
    assert available(root).bytes == 1500 * MB


def test_without_any_limit_of_a_cgroup(machine):
    assert available(v2(machine, "/kernel")).source == "free memory"
    assert available(v1(machine, "/kernel")).source == "free memory"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux counts address space so")
def test_what_the_plan_depends_on_is_the_whole_memory_in_steps(machine):
    root = machine("proc/meminfo", "MemTotal: 16300000 kB\nMemAvailable: 9000000 kB")
    assert capacity(root) == 62 * 2**28
    machine("proc/meminfo", "MemTotal: 16310000 kB\nMemAvailable: 1000000 kB")
    assert capacity(root) == 62 * 2**28
    assert capacity(v2(machine, "/kernel", limit=2**30, used=0)) == 2**30


def test_the_gpus_are_told_without_their_libraries(machine, monkeypatch):
    root = machine("proc/meminfo", "MemTotal: 1 kB")
    assert graphics(root) == []
    machine("proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t\t NVIDIA H100\nIRQ: \t\t 16")
    machine("sys/class/drm/card0/device/mem_info_vram_total", "17163091968")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert graphics(root) == ["NVIDIA H100", "17163091968 bytes", "CUDA_VISIBLE_DEVICES=0"]


def test_a_limit_of_the_shell_counts():
    code = "from phi_magic.machine import available; b = available(); print(b.bytes, b.source)"
    done = subprocess.run(
        ["sh", "-c", 'ulimit -v 1000000; exec "$0" -c "$1"', sys.executable, code],
        capture_output=True,
        text=True,
        check=True,
    )
    left, source = done.stdout.split(maxsplit=1)
    assert source == "what `ulimit -v` of 1.02 GB leaves\n"
    assert 500 * MB < int(left) < 1_024_000_000


# Loads, makes a context, reads a whole context's tokens; prints the sizes that llama.cpp logs and what is resident.
MEASURE = """
import ctypes, json, re, sys
import llama_cpp as C
path, asked = sys.argv[1], json.loads(sys.argv[2])
log = []
hear = C.llama_log_callback(lambda level, text, data: log.append(text.decode()))
C.llama_log_set(hear, ctypes.c_void_p(0))
def resident():
    status = open("/proc/self/status").read()
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", status)[1]) * 1024
before = resident()
params = C.llama_model_default_params()
params.use_extra_bufts = asked.get("repacked", False)
model = C.llama_model_load_from_file(path.encode(), params)
params = C.llama_context_default_params()
params.n_ctx, params.n_batch, params.n_ubatch = asked["n_ctx"], 512, 512
params.n_seq_max, params.kv_unified = asked.get("sequences", 1), False
params.flash_attn_type = int(asked.get("flash_attention", False))
params.type_k = getattr(C, "GGML_TYPE_" + asked.get("key_type", "f16").upper())
params.type_v = getattr(C, "GGML_TYPE_" + asked.get("value_type", "f16").upper())
params.n_threads = params.n_threads_batch = 2
context = C.llama_init_from_model(model, params)
tokens = (ctypes.c_int32 * 512)(*[3] * 512)
for _ in range(0, asked["n_ctx"] if asked.get("read") else 0, 512):
    assert C.llama_decode(context, C.llama_batch_get_one(tokens, 512)) == 0
sizes = re.findall(r"(\\S+) +(model|KV|compute|output) buffer size = +([\\d.]+) MiB", "".join(log))
said = {}
for place, kind, size in sizes:
    kind = "repack" if "REPACK" in place else kind
    said[kind] = said.get(kind, 0) + float(size) * 2**20
print(json.dumps({**said, "resident": resident() - before}))
"""


def measured(path, **asked):
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path), json.dumps(asked)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "settings",
    [
        {"n_ctx": 256},
        {"n_ctx": 2048},
        {"n_ctx": 4000},
        {"n_ctx": 4096, "flash_attention": True},
        {"n_ctx": 2048, "key_type": "q8_0"},
        {"n_ctx": 2048, "key_type": "q8_0", "value_type": "q8_0", "flash_attention": True},
        {"n_ctx": 2048, "key_type": "f32", "value_type": "f32"},
        {"n_ctx": 4096, "sequences": 8},
        {"n_ctx": 4096, "sequences": 8, "flash_attention": True},
    ],
    ids=str,
)
def test_llama_cpp_takes_what_was_estimated(slow_model, settings):
    need = estimate_memory(read_header(slow_model), **settings)
    said = measured(slow_model, **settings)
    assert need.weights == pytest.approx(said["model"], rel=0.01)
    assert need.cache == pytest.approx(said["KV"], rel=0.01)
    total = said["model"] + said["KV"] + said["compute"] + said["output"]
    # ours counts what is allocated during a pass as well
    assert 0.99 * total < need.total < 1.25 * total


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_estimate_is_resident_when_a_context_is_full(slow_model):
    need = estimate_memory(read_header(slow_model), n_ctx=512)
    assert need.total == pytest.approx(measured(slow_model, n_ctx=512, read=True)["resident"], rel=0.1)


def test_the_shipped_model_fits_almost_everywhere():
    assert estimate_memory(read_header(DEMO), n_ctx=2048).total < 100 * MB


def test_nothing_but_weights_before_there_is_a_context():
    header = read_header(DEMO)
    need = estimate_memory(header, n_ctx=0)
    assert (need.cache, need.weights) == (0, header.weight_bytes)


HEADER = read_header(DEMO)


def refused(left, **parts):
    need = Need(**{"weights": 0, "repack": 0, "cache": 0, "compute": 0, **parts})
    message = refusal(need, Budget(left, "free memory"), HEADER)
    assert message.isprintable()
    return message


def test_a_refusal_has_the_figures():
    message = refused(2 * GB, weights=2400 * MB, cache=1600 * MB, compute=300 * MB, n_ctx=4096)
    assert "needs 4.3 GB (weights 2.4 GB, context 1.6 GB, buffers 300 MB)" in message
    assert "there is 2 GB (free memory)" in message
    assert message.endswith("the model `demo`")


def test_a_refusal_names_the_context_that_would_fit():
    assert "n_ctx=1536 or" in refused(3300 * MB, weights=2400 * MB, cache=1600 * MB, compute=300 * MB, n_ctx=4096)


def test_a_refusal_names_the_profile_that_would_fit():
    assert "profile='memory'" in refused(3 * GB, weights=2400 * MB, repack=1200 * MB, cache=300 * MB, compute=200 * MB)


def test_a_refusal_names_a_smaller_file():
    weights = HEADER.n_params * 2
    assert "a Q8_0 file of it" in refused(int(weights * 0.8), weights=weights)


def test_a_refusal_where_nothing_is_left():
    assert "there is not even 0 bytes" in refused(-GB, weights=GB)
