"""Much at once, and for long: right answers, and memory that does not grow."""

from __future__ import annotations

import pytest

from tests.reliability.models import DEMO

LOAD = """
import ctypes, gc, json, random, sys, time
from pathlib import Path
from phi_magic import Phi
from phi_magic.generation.worker import shared
outcome, model, cycles, answers, turns = sys.argv[1:]
def resident():
    gc.collect()
    processes = ["self", str(shared.pid)] if shared.pid else ["self"]  # the kernel and its worker together
    return sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in processes) * 4096
def growth(act, count, warm):
    for _ in range(warm):
        act()
    before, quarters = resident(), []
    for _ in range(4):
        took = []
        for _ in range(count // 4):
            started = time.perf_counter()
            act()
            took.append(time.perf_counter() - started)
        quarters.append(sorted(took)[len(took) // 2])
    return resident() - before, quarters[-1] / quarters[0]
phi = Phi(model=model, n_threads=1, temperature=0, max_tokens=8)
def cycle():
    phi("Write a haiku about ice hockey")
    phi.unload()
seen = {"cycles": growth(cycle, int(cycles), 20)}
prompts = [f"Write a haiku about {word}" for word in "ice tea snow rain sun moon sea trees".split()]
numbers = random.Random(1)
seen["answers"] = growth(lambda: phi(numbers.choice(prompts)), int(answers), 100)
def kept():
    phi.unload()  # a model's context grows with its text, up to a bound
    ctypes.CDLL(None).malloc_trim(0)
    return resident()
chat = phi.chat("long")
before = None
for turn in range(int(turns)):
    chat(prompts[turn % len(prompts)])
    if turn == int(turns) // 5:
        before = kept()
seen["turns"] = len(chat), kept() - before
Path(outcome).write_text(json.dumps(seen))
"""

TOGETHER = """
import json, random, sys, threading, time
from pathlib import Path
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from phi_magic import Phi
from phi_magic.widgets.panel import Panel
outcome, model, threads, panels, seconds = sys.argv[1:]
SETTINGS = {"model": model, "n_threads": 1, "temperature": 0.0, "max_tokens": 8}
prompts = [f"Write a haiku about {word}" for word in "ice tea snow rain sun moon sea trees".split()]
fresh = {prompt: Phi(**SETTINGS)(prompt).text for prompt in prompts}
shell = InteractiveShell.instance(display_pub_class=CapturingDisplayPublisher)
shell.kernel = None  # what a notebook's shell has
shell.run_line_magic("load_ext", "phi_magic")
for name, value in SETTINGS.items():
    shell.run_line_magic("config", f"Phi.{name} = {value!r}")
wrong, order, end = [], [], time.monotonic() + float(seconds)
died = []
threading.excepthook = lambda arguments: died.append(repr(arguments.exc_value))
def judge(who, prompt, text):
    order.append(who)
    if text != fresh[prompt]:
        wrong.append((who, prompt, text))
def ask(number):
    mine, turn = Phi(**SETTINGS), number
    while time.monotonic() < end:
        prompt = prompts[turn % len(prompts)]
        judge(number, prompt, mine(prompt).text)
        turn += 1
team = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(int(threads))]
together = Phi(**SETTINGS)
shown = [Panel(together, prompt) for prompt in prompts[:int(panels)]]
for thread in team:
    thread.start()
while time.monotonic() < end:  # the main thread, as in a kernel: cells, and between them the buttons
    for panel in shown:
        if not panel._thread.busy:
            if panel._stream:
                judge("panel", panel.prompt.value, panel._stream.reply.text)
            panel.ask()
    prompt = random.choice(prompts)
    shell.display_pub.outputs.clear()
    shell.run_cell_magic("phi", "--out reply", prompt)
    judge("cell", prompt, shell.user_ns["reply"].text)
for thread in team:
    thread.join(60)
for panel in shown:
    panel.wait()
assert not any(thread.is_alive() for thread in team), "a deadlock"
assert not died, died
# First come, first served: between two answers of one thread every other that waits has had its turn.
gaps = [b - a for number in range(int(threads)) for places in [[at for at, one in enumerate(order) if one == number]]
        for a, b in zip(places, places[1:])]
Path(outcome).write_text(json.dumps({"answers": len(order), "panels": order.count("panel"), "cells": order.count("cell"),
                                     "threads": [order.count(number) for number in range(int(threads))],
                                     "wrong": wrong, "longest_wait": max(gaps)}))
"""
MOST = 5_000_000  # bytes
REPLY = 10_000  # bytes of a turn: the tokens and settings of its reply; all replies share the messages before them


@pytest.mark.skipif("sys.platform != 'linux'", reason="reads /proc")
@pytest.mark.parametrize(
    ("cycles", "answers", "turns"), [(40, 200, 10), pytest.param(500, 10_000, 500, marks=pytest.mark.torture)]
)
def test_memory_does_not_grow(child, figure, cycles, answers, turns):
    seen = child(LOAD, DEMO, cycles, answers, turns, timeout=3000)
    assert seen["cycles"][0] < MOST
    assert seen["answers"][0] < MOST
    assert seen["turns"][0] == turns
    assert seen["turns"][1] < MOST + REPLY * turns
    figure("Load and unload", f"{cycles} cycles: {seen['cycles'][0] / 1e6:+.1f} MB resident")
    figure(
        "Answers in one process",
        f"{answers}: {seen['answers'][0] / 1e6:+.1f} MB resident; the last quarter's median took "
        f"{seen['answers'][1]:.2f} of the first's",
    )
    figure(
        "A long conversation",
        f"{turns} turns: {seen['turns'][1] / 1e6:+.1f} MB after the first fifth, without the model",
    )


@pytest.mark.parametrize(
    ("threads", "panels", "seconds"), [(8, 3, 4), pytest.param(8, 3, 600, marks=pytest.mark.torture)]
)
def test_threads_panels_and_a_cell_are_answered_rightly_and_in_turn(child, figure, threads, panels, seconds):
    seen = child(TOGETHER, DEMO, threads, panels, seconds, timeout=seconds + 200)
    assert seen["wrong"] == []
    assert seen["panels"] > 0
    assert seen["cells"] > 0
    assert min(seen["threads"]) > max(seen["threads"]) / 3
    askers = threads + panels + 1
    assert seen["longest_wait"] <= 3 * askers
    figure(
        "Threads asking at once",
        f"{threads} threads, {panels} panels and a cell for {seconds} s: {seen['answers']:,} answers, all right, "
        f"{seen['panels']:,} in panels and {seen['cells']:,} in cells; at most {seen['longest_wait']} others between two of "
        "one thread",
    )
