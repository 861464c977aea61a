"""Under a limit on memory everything is done, or made smaller, or refused in one line; nothing is killed."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

import pytest

from tests.reliability.models import DEMO

CAPPED = """
import json, os, resource, sys, warnings
from pathlib import Path
outcome, cap, group, *models = sys.argv[1:]
if group:
    Path(group, "cgroup.procs").write_text(str(os.getpid()))
else:  # `ulimit -v`, which any process may set for itself: it counts address space, mapped weights included
    resource.setrlimit(resource.RLIMIT_AS, (int(float(cap) * 1e9),) * 2)
warnings.simplefilter("ignore")  # tqdm tells that it has no thread to spare
from phi_magic import Phi, PhiError
seen = []
def attempt(what, act):
    try:
        act()
        seen.append((what, "done"))
    except PhiError as error:
        assert "\\n" not in str(error)
        seen.append((what, str(error)))
for model in models:
    phi = Phi(model=model, n_threads=2, temperature=0, max_tokens=4)
    attempt("load", phi.load)
    for length in (10, 600, 3000):
        attempt(f"a prompt of {length}", lambda: phi("ice " * length))
    attempt("map", lambda: phi.map(["ice " * 40] * 12, progress=False))
    attempt("sweep", lambda: phi.sweep("ice", seed=range(1, 10), temperature=1, progress=False))
    phi.unload()
Path(outcome).write_text(json.dumps(seen))
"""
MEMORY = ("`ulimit -v`", "a cgroup limit", "the prompt has", "threads")
CGROUPS = Path("/sys/fs/cgroup")


@contextlib.contextmanager
def cgroup(cap):
    """The folder of a memory cgroup of our own with a limit in bytes; skips the test where none may be made."""
    name = f"phi_magic-{uuid.uuid4().hex}"
    for top, limit in ((CGROUPS / "memory", "memory.limit_in_bytes"), (CGROUPS, "memory.max")):
        group = top / name
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if os.access(group / limit, os.W_OK):
                (group / limit).write_text(str(int(cap)))
                yield group
                return
        finally:
            group.rmdir()
    pytest.skip("a memory cgroup can be made by root alone, or where one is delegated: run the tests there")


@pytest.mark.skipif("sys.platform != 'linux'", reason="elsewhere address space is not limited so")
@pytest.mark.parametrize(
    "caps",
    [(0.5, 1.0), pytest.param((0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 1, 1.5, 2, 3, 4), marks=pytest.mark.torture)],
    ids=str,
)
def test_under_a_limit_on_address_space_it_is_done_or_refused(slow_model, child, figure, caps):
    seen = {cap: child(CAPPED, cap, "", DEMO, slow_model) for cap in caps}
    counts = done_or_refused(seen)
    assert counts[max(caps)] > counts[min(caps)]
    figure("Load, growing context, map and sweep under a memory cap", told(seen))


@pytest.mark.skipif("sys.platform != 'linux'", reason="cgroups are Linux's")
@pytest.mark.parametrize("caps", [(0.25, 0.5)], ids=str)
def test_in_a_cgroup_it_is_done_or_refused(slow_model, child, figure, caps):
    seen = {}
    for cap in caps:
        with cgroup(cap * 1e9) as group:
            seen[cap] = child(CAPPED, cap, group, DEMO, slow_model)
    counts = done_or_refused(seen)
    assert counts[max(caps)] > counts[min(caps)]
    figure("Load, growing context, map and sweep in a cgroup", told(seen))


@pytest.mark.torture
@pytest.mark.skipif("sys.platform != 'linux'", reason="cgroups are Linux's")
@pytest.mark.parametrize("caps", [(0.5, 1, 2, 4)], ids=str)
def test_a_full_size_model_in_a_cgroup_is_answered_or_refused(child, figure, caps):
    from benchmarks.__main__ import FOLDER
    from benchmarks.stand_in import full_size

    FOLDER.mkdir(parents=True, exist_ok=True)
    model = full_size(FOLDER)
    seen = {}
    for cap in caps:
        with cgroup(cap * 1e9) as group:
            seen[cap] = child(CAPPED, cap, group, model, timeout=1200)
    counts = done_or_refused(seen)
    assert counts[2] == 0  # the file alone is larger
    assert counts[4] > 0
    figure("The same with a model of 2.4 GB in a cgroup", told(seen))


def done_or_refused(seen):
    """How much was done under each cap; the rest must have been refused for the memory's sake."""
    for cap, outcomes in seen.items():
        for what, outcome in outcomes:
            assert outcome == "done" or any(sign in outcome for sign in MEMORY), (cap, what, outcome)
    return {cap: sum(outcome == "done" for _, outcome in outcomes) for cap, outcomes in seen.items()}


def told(seen):
    counts = done_or_refused(seen)
    done = ", ".join(f"{cap} GB: {counts[cap]} of {len(outcomes)} done" for cap, outcomes in seen.items())
    return f"{done}; the others one line; none killed"


# Another process fills the memory: where the kernel's own variables do, Linux now and then takes the kernel too, a few
# milliseconds after the worker, before the worker's memory is counted as free.
HOG = """
import json, os, subprocess, sys, time
from pathlib import Path
outcome, group, model = sys.argv[1:]
Path(group, "cgroup.procs").write_text(str(os.getpid()))
from phi_magic import Phi
from phi_magic.errors import WorkerEnded
from phi_magic.generation.worker import shared
phi = Phi(model=model, n_threads=1, temperature=0, max_tokens=1000)
fresh = phi("Write a haiku", max_tokens=8).text
stream, precious = phi.stream("Write a haiku"), [1, 2, 3]
next(stream)
fill = "import time\\nheld = []\\nwhile True: held.append(b'x' * 1_000_000); time.sleep(0.002)"
hog = subprocess.Popen([sys.executable, "-c", fill])
while shared.pid:
    time.sleep(0.005)
hog.kill()
hog.wait()
try:
    stream.run()
except WorkerEnded as error:
    said = str(error)
again = phi("Write a haiku", max_tokens=8).text
seen = {"said": said, "kept": stream.reply.text, "right": again == fresh, "precious": precious}
Path(outcome).write_text(json.dumps(seen))
"""


@pytest.mark.skipif("sys.platform != 'linux'", reason="cgroups are Linux's")
def test_the_out_of_memory_killer_takes_the_model_s_process_and_not_the_kernel(slow_model, child, figure):
    with cgroup(400e6) as group:
        seen = child(HOG, group, slow_model)
    assert "ended by the system for want of memory (signal 9): it held" in seen["said"]
    assert "\n" not in seen["said"]
    assert seen["kept"]
    assert seen["right"]
    assert seen["precious"] == [1, 2, 3]
    figure("The system's out-of-memory killer in a cgroup of 400 MB", "took the model's process; the next answer right")


GROW = """
import json, os, sys
from pathlib import Path
outcome, group, model = sys.argv[1:]
Path(group, "cgroup.procs").write_text(str(os.getpid()))
from phi_magic import Phi
from phi_magic.errors import WorkerEnded
from phi_magic.generation import launch
bootstrap = launch._bootstrap
launch._bootstrap = lambda *pipes: (  # a worker that believes all memory to be free refuses nothing
    "import phi_magic.engine.runtime as runtime; from phi_magic.machine import Budget; "
    "runtime.available = lambda: Budget(10**12, 'a test'); " + bootstrap(*pipes)
)
phi = Phi(model=model, n_threads=1, temperature=0, max_tokens=8)
fresh, precious = phi("Write a haiku").text, [1, 2, 3]
stat = dict(line.split() for line in Path(group, "memory.stat").read_text().splitlines())
held = int(stat["anon"] if "anon" in stat else stat["rss"])
limit = next(path for path in (Path(group, "memory.limit_in_bytes"), Path(group, "memory.max")) if path.exists())
limit.write_text(str(held + 40_000_000))
try:
    phi("ice " * 900)
    said = "it fitted"
except WorkerEnded as error:
    said = str(error)
again = phi("Write a haiku").text
Path(outcome).write_text(json.dumps({"said": said, "right": again == fresh, "precious": precious}))
"""


@pytest.mark.skipif("sys.platform != 'linux'", reason="cgroups are Linux's")
def test_a_context_that_grows_beyond_the_cap_takes_the_model_s_process_alone(slow_model, child, figure):
    with cgroup(1e9) as group:
        seen = child(GROW, group, slow_model)
    assert "ended by the system for want of memory (signal 9): it held" in seen["said"]
    assert "\n" not in seen["said"]
    assert seen["right"]
    assert seen["precious"] == [1, 2, 3]
    figure("A context that grows beyond a cgroup's cap", "took the model's process; the next answer right")
