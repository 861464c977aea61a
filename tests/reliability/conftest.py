"""What a test here saw is written down, and tools/reliability.py makes the table of docs/reliability.md of it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest

from tests.conftest import PROJECT

FIGURES = PROJECT / "build" / "reliability.jsonl"


def machine():
    """The processor, its cores and the memory, in words."""
    try:
        said = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        named = next((line.partition(":")[2].strip() for line in said if line.startswith("model name")), "")
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return f"{platform.system()} {platform.machine()}"
    return f"{named or platform.machine()}, {os.cpu_count()} cores, {memory / 2**30:.0f} GiB, {platform.system()}"


@pytest.fixture
def figure(request):
    """Write down, under a line of the table, what was seen; called at the end of a test, when all of it held."""
    started = time.monotonic()

    def write(line, seen):
        FIGURES.parent.mkdir(exist_ok=True)
        form = "long" if request.node.get_closest_marker("torture") else "short"
        record = {
            "line": line,
            "form": form,
            "seen": seen,
            "test": request.node.nodeid.partition("[")[0],
            "seconds": round(time.monotonic() - started),
            "date": datetime.now(timezone.utc).date().isoformat(),
            "machine": machine(),
        }
        with FIGURES.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    return write


@pytest.fixture
def child(tmp_path):
    """Run a script in a Python of its own, and return what it prints last, as JSON.

    It must end by itself with status 0: one that was killed, crashed or hangs fails the test.
    """
    outcome = tmp_path / "outcome.json"

    def run(script, *arguments, before="", timeout=600):
        outcome.unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", f"{before}\n{script}", str(outcome), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
        return json.loads(outcome.read_text()) if outcome.exists() else None

    return run
