"""Damaged files: refused in one line, or loaded and decoded; the process lives."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest

from phi_magic.errors import PhiError
from phi_magic.gguf import read_header
from tests.reliability.models import DEMO

# Loads each file, tokenizes, decodes; each in a process of its own, whose end it prints.
LIVE = """
import ctypes, os, sys
import llama_cpp as C
from phi_magic.engine.llama import C as _  # llama.cpp's log goes where ours does
def live(path):
    params = C.llama_model_default_params()
    model = C.llama_model_load_from_file(path.encode(), params)
    if not model:
        return
    said = "Write a haiku about ice h\\xf6ckey \\U0001f3d2\\n\\t\\0".encode()
    ids = (ctypes.c_int32 * 512)()
    count = C.llama_tokenize(C.llama_model_get_vocab(model), said, len(said), ids, 512, True, True)
    params = C.llama_context_default_params()
    params.n_ctx, params.n_threads = 256, 1
    context = C.llama_init_from_model(model, params)
    if context and 0 < count <= 200:
        C.llama_decode(context, C.llama_batch_get_one(ids, count))
        C.llama_decode(context, C.llama_batch_get_one(ids, 1))
for path in sys.argv[1:]:
    child = os.fork()
    if not child:
        live(path)
        os._exit(0)
    print(path, os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="each file is tried in a forked process")
@pytest.mark.parametrize("count", [120, pytest.param(4_000, marks=pytest.mark.torture)])
def test_llama_cpp_survives_every_damaged_file_that_is_let_through(tmp_path, figure, count):
    sound = DEMO.read_bytes()
    head = read_header(DEMO).tensors[0].offset
    numbers = random.Random(count)
    let_through = []
    for number in range(count):
        content = bytearray(sound)
        for _ in range(numbers.choice([1, 1, 2, 4, 16])):
            # half of the damage goes where most can be done
            at = numbers.randrange(numbers.choice([1_500, head, len(content)]))
            content[at] = numbers.choice([0, 255, numbers.randrange(256), content[at] ^ (1 << numbers.randrange(8))])
        path = tmp_path / f"{number}.gguf"
        path.write_bytes(content)
        try:
            read_header(path)
        except PhiError:
            path.unlink()
        else:
            let_through.append(str(path))
    assert let_through
    for batch in range(0, len(let_through), 500):
        done = subprocess.run(
            [sys.executable, "-c", LIVE, *let_through[batch : batch + 500]], capture_output=True, text=True, check=True
        )
        ends = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines() if line.startswith(str(tmp_path)))
        assert set(ends) == set(let_through[batch : batch + 500])
        assert {path: end for path, end in ends.items() if end != "0"} == {}
    figure(
        "The shipped model's file with 1 to 16 bytes changed",
        f"{count}: {count - len(let_through)} refused in one line, {len(let_through)} loaded and decoded, none fatal",
    )
