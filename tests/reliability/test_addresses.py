"""AddressSanitizer over every call that hands a pointer to C: batches, callbacks, samplers, copies of memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.reliability.models import DEMO

WORK = """
import json, sys, threading
from pathlib import Path
from phi_magic import Phi
from phi_magic.engine.engine import Engine
Phi.backend = shared = Engine()
outcome, path = sys.argv[1:]
ICE = "Write a haiku about ice hockey"
ENTRY = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 9}, "b": {"enum": [1, "two", None]}},
         "required": ["a", "b"]}
EVERY_KNOB = {"temperature": 1.3, "top_p": 0.9, "top_k": 40, "min_p": 0.02, "repeat_penalty": 1.2, "repeat_last_n": 16}
TEXTS = ["", "a", "h\\xf6ckey \\U0001f3d2\\n\\t\\0", "<|user|> <|end|>", "\\ufffd" * 300, "x" * 5000, "\\ud800"]
answers = 0
def ask(*arguments, **options):
    global answers
    answers += 1
    return phi(*arguments, **options)
for plan in ({"profile": "auto"}, {"profile": "speed"}, {"profile": "memory"}, {"exact": False}):
    phi = Phi(model=path, n_threads=2, max_tokens=12, seed=1, **plan)
    phi.unload()
    first = ask(ICE, top_logprobs=5)
    model, _ = shared.loaded
    for text in TEXTS:
        assert isinstance(model.tokenize(text, shield="\\ue000"), list)
    for token in range(model.n_vocab):
        model.piece(token), model.control_text(token)
    ask(ICE, **EVERY_KNOB, top_logprobs=3)
    ask(ICE, temperature=0, begin=[5, 6, 7])
    ask(ICE, known=first.tokens[:4], begin=[9])
    ask("ice " * 700, max_tokens=3)  # two slices, and a context that grows around what is in it
    chat = phi.chat("c")
    chat.reset()
    chat("ice " * 90)
    ask("Another question, which puts that aside: " + "snow " * 90)
    chat("And?")
    ask(ICE, schema=ENTRY, max_tokens=60)
    ask("Copy: one two three four one two three four one two three four", temperature=0, max_tokens=40)
    answers += len(phi.map([ICE + " and snow" * n for n in range(10)], progress=False))
    phi.look(ICE, (5, 6))
    for moment in (0.0, 0.02, 0.1, 0.3):  # C asks the callback while it computes
        stream = phi.stream("ice " * 800, max_tokens=200)
        timer = threading.Timer(moment, stream.stop)
        timer.start()
        stream.run()
        timer.join()
        ask(ICE)
phi.unload()
Path(outcome).write_text(json.dumps(answers))
"""

# Shows that the sanitizer is awake: more room is claimed than there is.
BEYOND = """
import ctypes, sys
from phi_magic import Phi
from phi_magic.engine.engine import Engine
from phi_magic.engine.llama import C
Phi.backend = shared = Engine()
Phi(model=sys.argv[2]).load()
model, _ = shared.loaded
small = (ctypes.c_int32 * 4)()
C.llama_tokenize(model.vocab, b"one two three four five six seven eight", 39, small, 100, False, False)
"""


@pytest.fixture(scope="module")
def sanitized():
    """The environment in which llama.cpp is one built with AddressSanitizer; building takes some minutes, once."""
    from benchmarks.__main__ import FOLDER
    from benchmarks.stand_in import sources

    if sys.platform != "linux" or not shutil.which("gcc") or not shutil.which("cmake"):
        pytest.skip("on Linux with gcc and cmake llama.cpp is built with AddressSanitizer for this")
    FOLDER.mkdir(parents=True, exist_ok=True)
    build = FOLDER / "llama.cpp-sanitized"
    parts = ("TESTS", "TOOLS", "EXAMPLES", "SERVER", "APP", "COMMON")
    options = [f"-DLLAMA_BUILD_{part}=OFF" for part in parts]
    options += ["-DLLAMA_SANITIZE_ADDRESS=ON", "-DGGML_SANITIZE_ADDRESS=ON", "-DBUILD_SHARED_LIBS=ON"]
    options += ["-DCMAKE_BUILD_TYPE=None", "-DCMAKE_C_FLAGS=-O1 -g1", "-DCMAKE_CXX_FLAGS=-O1 -g1"]
    subprocess.run(["cmake", "-S", sources(FOLDER), "-B", build, *options], check=True, capture_output=True)
    subprocess.run(["cmake", "--build", build, "--target", "llama", "--parallel", "2"], check=True, capture_output=True)
    runtime = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
    ).stdout.strip()
    return {
        "LLAMA_CPP_LIB_PATH": str(build / "bin"),
        "LD_PRELOAD": runtime,
        "PYTHONMALLOC": "malloc",  # else it would watch Python's arenas, not what is in them
        "ASAN_OPTIONS": "detect_leaks=0:exitcode=99",  # Python keeps what it likes until its end
    }


def run(script, sanitized, folder):
    return subprocess.run(
        [sys.executable, "-c", script, folder / "outcome", DEMO],
        env=os.environ | sanitized,
        capture_output=True,
        text=True,
        check=False,
        timeout=3000,
    )


@pytest.mark.torture
def test_the_sanitizer_sees_what_is_out_of_bounds(sanitized, tmp_path):
    done = run(BEYOND, sanitized, tmp_path)
    assert done.returncode == 99
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr


@pytest.mark.torture
def test_nothing_that_is_handed_to_c_is_out_of_bounds(sanitized, tmp_path, figure):
    done = run(WORK, sanitized, tmp_path)
    assert done.returncode == 0, done.stderr[-6000:]
    answers = int((tmp_path / "outcome").read_text())
    figure(
        "AddressSanitizer over llama.cpp and what it is handed",
        f"{answers} answers in four ways to run the engine, with every sampling parameter, grammar, wide passes, saved KV states, "
        "interrupts: clean",
    )
