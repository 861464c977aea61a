"""Damaged files: refused in one line, or answering; the process lives."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter

import pytest

from phi_magic.gguf.checks import read_header
from tests.reliability.models import DEMO

# Asks each file as a user does, in a process of its own, and prints what it said or how it ended.
LIVE = """
import os, resource, signal, sys, traceback
import phi_magic.engine.answer, phi_magic.prompt.template  # once, not in every child
from phi_magic import Phi, PhiError
from phi_magic.engine.engine import shared
ROOM = 4 << 30  # bytes of address space, of which the imports take one
def ask(path):
    shared._process = os.getpid()  # a forked process may not use its parent's model, but the parent has none
    resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM))
    signal.alarm(60)
    try:
        Phi(model=path, n_threads=1)("ice", max_tokens=2)
        return "answered"
    except PhiError as error:
        assert len(str(error).splitlines()) == 1, error
        return f"refused: {error}"
for path in sys.argv[1:]:
    child = os.fork()
    if not child:
        try:
            print(path, ask(path), flush=True)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    if status := os.waitpid(child, 0)[1]:
        print(path, "fatal:", status, flush=True)
"""

BATCH = 500  # files in one process, from which the others are forked


@pytest.mark.skipif(not hasattr(os, "fork"), reason="each file is tried in a forked process")
@pytest.mark.parametrize("count", [120, pytest.param(4_000, marks=pytest.mark.torture)])
def test_a_damaged_file_is_refused_in_one_line_or_answers(tmp_path, figure, count):
    refused, answered = tried(DEMO, count, tmp_path)
    figure(
        "The shipped model's file with 1 to 16 bytes changed",
        f"{count}, one in eight cut too: {refused} refused in one line, {answered} answered, none fatal",
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="each file is tried in a forked process")
@pytest.mark.parametrize("count", [12, pytest.param(200, marks=pytest.mark.torture)])
def test_so_is_a_damaged_file_of_a_larger_model(slow_model, tmp_path, figure, count):
    refused, answered = tried(slow_model, count, tmp_path)
    figure(
        "The same with a model of 210 MB",
        f"{count}, one in eight cut too: {refused} refused in one line, {answered} answered, none fatal",
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
        fatal = {path: what for path, what in said.items() if what.startswith("fatal")}
        assert not fatal, f"{fatal}\n{done.stderr[-6000:]}"
        assert set(said) == set(map(str, paths)), done.stderr[-6000:]
        kinds.update(what.partition(":")[0] for what in said.values())
        for path in paths:
            path.unlink()
    assert kinds["answered"]
    assert kinds["refused"]
    return kinds["refused"], kinds["answered"]


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
