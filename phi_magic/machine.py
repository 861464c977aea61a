"""Find out how many processor cores and how much memory the process may use; cgroups and resource limits count."""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

_STEP = 2**28  # bytes
THREADS = 100_000_000  # bytes of address space for the stacks and heaps of a few more threads


def show_size(nbytes: int) -> str:
    """Format a size for people: 726 kB, 2.39 GB (a GB is 1,000,000,000 bytes, as on the hub)."""
    if nbytes < 1000:
        return f"{nbytes} bytes"
    power = min(int(math.log10(nbytes)) // 3, 4)
    return f"{nbytes / 1000**power:.3g} {'kMGT'[power - 1]}B"


@dataclass(frozen=True)
class Budget:
    """How many bytes this process may still use, and which limit that is."""

    bytes: int
    source: str
    whole: int = field(default=sys.maxsize, compare=False)  #: what it would be if nothing had been used yet
    counts_files: bool = field(default=False, compare=False)  #: whether the pages of mapped files are used bytes here


def physical_cores(root: Path = Path("/")) -> int:
    """Cores this process may use: hyper-threads counted once, the affinity mask and the cgroup's quota respected."""
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:  # macOS, Windows
        return max(1, (os.cpu_count() or 2) // 2)
    siblings = set()
    for cpu in allowed:
        try:
            siblings.add((root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text())
        except OSError:
            siblings.add(str(cpu))
    return max(1, min(len(siblings), _quota(root)))


def processor(root: Path = Path("/")) -> str:
    """Describe the processor and its instruction sets: the last digits of a computation may depend on them."""
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # macOS, Windows
        return f"{platform.machine()} {platform.processor()} {platform.release()}"
    told = ("model name", "flags", "Features", "CPU implementer", "CPU part")
    return "\n".join(dict.fromkeys(line for line in lines if line.partition("\t")[0].strip(" :") in told))


def _quota(root: Path) -> int:
    """Whole processors that the cgroup grants (v2, then v1); many where it sets no limit."""
    try:
        quota, period = (root / "sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text().strip()
            period = (root / "sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return 1_000_000
    if quota in ("max", "-1"):
        return 1_000_000
    return max(1, round(int(quota) / int(period)))


def available(root: Path = Path("/")) -> Budget:
    """Return the smallest budget that any limit on this process leaves; tests pass another `root` of the file system.

    Looks at the cgroup (v1 and v2) and those above it, the address-space and data limits (`ulimit -v`, `-d`), and the
    memory that the machine has free. Swap does not count: a model in swap is too slow to use.
    """
    budgets = [*_cgroups(root), *_rlimits(root), *_machine(root)]
    return min(budgets, key=lambda budget: budget.bytes, default=Budget(sys.maxsize, "no limit known"))


def capacity(root: Path = Path("/")) -> int:
    """Return the bytes of memory that a process may have on this machine, whatever is free at the moment.

    They are rounded down to 0.25 GiB: what the system keeps for itself differs a little from one start to the next.
    """
    return min(b.whole for b in [*_cgroups(root), *_rlimits(root), *_machine(root), Budget(0, "")]) // _STEP * _STEP


def graphics(root: Path = Path("/")) -> list[str]:
    """Return what Linux knows about the GPUs that a process may use, without their drivers' libraries."""
    told = [line for card in sorted(root.glob("proc/driver/nvidia/gpus/*/information")) for line in _lines(card)]
    models = [" ".join(line.split()[1:]) for line in told if line.startswith("Model:")]
    memory = [f"{_integer(card)} bytes" for card in sorted(root.glob("sys/class/drm/card*/device/mem_info_vram_total"))]
    chosen = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GGML_VK_VISIBLE_DEVICES")
    return [*models, *memory, *(f"{name}={os.environ[name]}" for name in chosen if name in os.environ)]


def _cgroups(root: Path) -> Iterator[Budget]:
    """The budget that each cgroup with a limit leaves, from this process's own up to the top."""
    for own, top, files in _hierarchies(root):
        for folder in [own, *(parent for parent in own.parents if parent.is_relative_to(top))]:
            stat = _fields(folder / "memory.stat")
            used = _integer(folder / files.usage)
            for name in files.limits:
                limit = _integer(folder / name)
                if limit is not None and used is not None and limit < 1 << 60:  # "none" is a number in v1
                    left = limit - max(used - sum(stat.get(field, 0) for field in files.reclaimable), 0)
                    yield Budget(left, f"what a cgroup limit of {show_size(limit)} leaves", limit)


class _Files(NamedTuple):
    """The names of a cgroup version's files, and the fields of memory.stat that count memory which the system can
    reclaim.
    """

    limits: tuple[str, ...]
    usage: str
    reclaimable: tuple[str, ...]


V1 = _Files(("memory.limit_in_bytes",), "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
V2 = _Files(("memory.max", "memory.high"), "memory.current", ("inactive_file", "active_file", "slab_reclaimable"))


def _hierarchies(root: Path) -> Iterator[tuple[Path, Path, _Files]]:
    """This process's folder in each hierarchy that can limit memory, with the topmost folder visible there."""
    paths = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    for line in _lines(root / "proc/self/mountinfo"):
        mount, _, kind = line.partition(" - ")
        inside, point = mount.split()[3:5]
        if kind.startswith("cgroup2 "):
            controller, files = "", V2
        elif kind.startswith("cgroup ") and "memory" in kind.split()[-1].split(","):
            controller, files = "memory", V1
        else:
            continue
        top = root / point.lstrip("/")
        path = paths.get(controller, "/")
        # a container sees a part of the hierarchy at its mount, and may be told its place in the whole
        own = top / path.removeprefix(inside).lstrip("/")
        yield (own if own.is_dir() and ".." not in own.parts else top), top, files


def _rlimits(root: Path) -> Iterator[Budget]:
    try:
        import resource
    except ImportError:  # Windows
        return
    status = _fields(root / "proc/self/status")
    limits = ((resource.RLIMIT_AS, "VmSize:", "ulimit -v"), (resource.RLIMIT_DATA, "VmData:", "ulimit -d"))
    for number, used, name in limits:
        limit, _ = resource.getrlimit(number)
        if limit != resource.RLIM_INFINITY:
            space = number == resource.RLIMIT_AS
            left = limit - status.get(used, 0) * 1024 - THREADS * space
            yield Budget(left, f"what `{name}` of {show_size(limit)} leaves", limit, counts_files=space)


def _machine(root: Path) -> Iterator[Budget]:
    meminfo = _fields(root / "proc/meminfo")
    free = meminfo.get("MemAvailable:")
    if free is not None:
        yield Budget(free * 1024, "free memory", meminfo.get("MemTotal:", free) * 1024)
        return
    with contextlib.suppress(ImportError):  # not Linux; ipykernel brings psutil
        memory = importlib.import_module("psutil").virtual_memory()
        yield Budget(memory.available, "free memory", memory.total)
        return
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        yield Budget(whole // 2, "half of the machine's memory", whole)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:  # not there on this system
        return []


def _fields(path: Path) -> dict[str, int]:
    """The lines of a file of names and numbers, as /proc and cgroups write them."""
    pairs = (line.split()[:2] for line in _lines(path))
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _integer(path: Path) -> int | None:
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdecimal() else None


def oom_kills(root: Path = Path("/")) -> int:
    """How often the system has ended a process for want of memory: of the machine, and of this process's cgroups."""
    kills = _fields(root / "proc/vmstat").get("oom_kill", 0)
    for own, _, _ in _hierarchies(root):
        for name in ("memory.events", "memory.oom_control"):
            kills += _fields(own / name).get("oom_kill", 0)
    return kills
