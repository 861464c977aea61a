"""Damaged files: refused in one line, or answering; the kernel lives."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter

import pytest

from phi_magic.gguf.checks import read_header
from tests.reliability.models import DEMO

# Asks each file as a user does, and prints what was said. A worker that ends is one line too, and counted.
LIVE = """
import resource, sys
from phi_magic import Phi, PhiError
from phi_magic.errors import WorkerEnded
ROOM = 4 << 30  # bytes of address space, for the worker too
resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM))
for path in sys.argv[1:]:
    try:
        Phi(model=path, n_threads=1)("ice", max_tokens=2)
        said = "answered"
    except PhiError as error:
        assert len(str(error).splitlines()) == 1, error
        said = f"{'ended' if isinstance(error, WorkerEnded) else 'refused'}: {error}"
    print(path, said, flush=True)
"""

BATCH = 500  # files in one process


@pytest.mark.parametrize("count", [120, pytest.param(4_000, marks=pytest.mark.torture)])
def test_a_damaged_file_is_refused_in_one_line_or_answers(tmp_path, figure, count):
    refused, answered, ended = tried(DEMO, count, tmp_path)
    figure(
        "The shipped model's file with 1 to 16 bytes changed",
        f"{count}, one in eight cut too: {refused} refused in one line, {answered} answered, {ended} ended the worker",
    )


@pytest.mark.parametrize("count", [12, pytest.param(200, marks=pytest.mark.torture)])
def test_so_is_a_damaged_file_of_a_larger_model(slow_model, tmp_path, figure, count):
    refused, answered, ended = tried(slow_model, count, tmp_path)
    figure(
        "The same with a model of 210 MB",
        f"{count}, one in eight cut too: {refused} refused in one line, {answered} answered, {ended} ended the worker",
    )


def tried(sound, count, folder):
    """Damage a file in so many ways, and ask each: how many were refused, and how many answered."""
    content = sound.read_bytes()
    head = read_header(sound).tensors[0].offset
    numbers = random.Random(count)
    kinds = Counter()
    for batch in range(0, count, BATCH):
        paths = [folder / f"{number}.gguf" for number in range(batch, min(batch + BATCH, count))]
        for path in paths:
            damage(path, content, head, numbers)
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", LIVE, *map(str, paths)],
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
        )
        said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
        assert done.returncode == 0, done.stderr[-6000:]
        assert set(said) == set(map(str, paths)), done.stderr[-6000:]
        kinds.update(what.partition(":")[0] for what in said.values())
        for path in paths:
            path.unlink()
    assert kinds["answered"]
    assert kinds["refused"]
    assert kinds["ended"] < count / 100  # what is known to end it is refused by name
    return kinds["refused"], kinds["answered"], kinds["ended"]


def damage(path, content, head, numbers):
    """Write a file with 1 to 16 bytes changed, one in eight cut too; zeros at its end take no room on the disk."""
    size = numbers.randrange(len(content)) if numbers.random() < 1 / 8 else len(content)
    with path.open("wb") as file:
        file.write(content.rstrip(b"\0")[:size])
        file.truncate(size)
        for _ in range(numbers.choice([1, 1, 2, 4, 16])):
            # half of the damage goes where most can be done
            at = numbers.randrange(numbers.choice([1_500, head, len(content)]))
            byte = numbers.choice([0, 255, numbers.randrange(256), content[at] ^ (1 << numbers.randrange(8))])
            if at < size:
                file.seek(at)
                file.write(bytes([byte]))
