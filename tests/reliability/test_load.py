"""Much at once, and for long: right answers, and memory that does not grow."""

from __future__ import annotations

import pytest

from tests.reliability.models import DEMO

LOAD = """
import gc, json, random, sys, threading, time
from pathlib import Path
from phi_magic import Phi
from phi_magic.engine.engine import shared
outcome, model, cycles, answers, threads, each, turns = sys.argv[1:]
def resident():
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
def growth(act, count, warm):
    for _ in range(warm):
        act()
    before, quarters = resident(), []
    for _ in range(4):
        started = time.perf_counter()
        for _ in range(count // 4):
            act()
        quarters.append((time.perf_counter() - started) / (count // 4))
    return resident() - before, quarters[-1] / min(quarters[:2])
phi = Phi(model=model, n_threads=1, temperature=0, max_tokens=8)
def cycle():
    phi("Write a haiku about ice hockey")
    phi.unload()
seen = {"cycles": growth(cycle, int(cycles), 20)}
prompts = [f"Write a haiku about {word}" for word in "ice tea snow rain sun moon sea trees".split()]
numbers = random.Random(1)
seen["answers"] = growth(lambda: phi(numbers.choice(prompts)), int(answers), 100)
fresh = {prompt: phi(prompt).text for prompt in prompts}
wrong, orders, waiting = [], [], []
def ask(number):
    mine = Phi(model=model, n_threads=1, temperature=0, max_tokens=8)
    for turn in range(int(each)):
        prompt = prompts[(number + turn) % len(prompts)]
        if mine(prompt).text != fresh[prompt]:
            wrong.append(prompt)
        orders.append(number)
team = [threading.Thread(target=ask, args=(number,)) for number in range(int(threads))]
for thread in team:
    thread.start()
for thread in team:
    thread.join(3000)
assert not any(thread.is_alive() for thread in team), "a deadlock"
seen["wrong"] = len(wrong)
# First come, first served: between two answers of one thread every other that waits has had its turn.
gaps = [b - a for number in range(int(threads)) for places in [[at for at, one in enumerate(orders) if one == number]]
        for a, b in zip(places, places[1:])]
seen["longest_wait"] = max(gaps)
chat = phi.chat("long")
before = None
for turn in range(int(turns)):
    chat(prompts[turn % len(prompts)])
    if turn == int(turns) // 5:
        before = resident()
seen["turns"] = len(chat), resident() - before
Path(outcome).write_text(json.dumps(seen))
"""
MOST = 5_000_000  # bytes


@pytest.mark.skipif("sys.platform != 'linux'", reason="reads /proc")
@pytest.mark.parametrize(
    ("cycles", "answers", "threads", "each", "turns"),
    [(40, 200, 8, 5, 10), pytest.param(500, 10_000, 8, 400, 500, marks=pytest.mark.torture)],
)
def test_memory_stays_and_answers_are_right(child, figure, cycles, answers, threads, each, turns):
    seen = child(LOAD, DEMO, cycles, answers, threads, each, turns, timeout=3000)
    assert seen["wrong"] == 0
    assert seen["longest_wait"] <= 3 * threads
    assert seen["cycles"][0] < MOST
    assert seen["answers"][0] < MOST
    assert seen["turns"][0] == turns
    figure("Load and unload", f"{cycles} cycles: {seen['cycles'][0] / 1e6:+.1f} MB resident")
    figure(
        "Answers in one process",
        f"{answers}: {seen['answers'][0] / 1e6:+.1f} MB resident, the last quarter {seen['answers'][1]:.2f} of the time "
        "of the first ones",
    )
    figure(
        "Threads asking at once",
        f"{threads} threads, {threads * each} answers: all right, at most {seen['longest_wait']} others between two of one",
    )
    figure("A long conversation", f"{turns} turns: {seen['turns'][1] / 1e6:+.1f} MB after the first fifth")
