"""Ctrl-C at random moments: what there was stays, it ends soon, and the next answer is that of a fresh process."""

from __future__ import annotations

import random

import pytest

from tests.hub.server import Hub
from tests.reliability.models import DEMO

pytestmark = pytest.mark.alone
LINE = "Interrupts at random moments of "
SOON, SOON_WHILE_LOADING = 0.25, 1.0  # seconds

# Sends SIGINT to its own main thread after a while, and where `twice` is said a second one within 10 milliseconds.
SHOOT = """
import json, random, signal, sys, threading, time
from pathlib import Path
outcome, count, seed, *rest = sys.argv[1:]
numbers = random.Random(int(seed))
signal.signal(signal.SIGINT, signal.default_int_handler)
class Shot:
    def __init__(self, longest, twice):
        self.ended, self.at, self.late, self.hit = False, None, 0.0, None
        self.longest, self.twice = longest, twice
        self.thread = threading.Thread(target=self.fire)
    def at_work(self, work):
        try:
            try:
                self.thread.start()
                work()
            finally:
                self.ended = True
                self.late = time.perf_counter() - (self.at or time.perf_counter())
        except KeyboardInterrupt as error:
            self.hit = error  # as IPython keeps the last one, and with it every frame
        while True:
            try:
                self.thread.join()
                return self
            except KeyboardInterrupt:
                pass  # it came too late
    def shoot(self):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    def fire(self):
        time.sleep(numbers.random() * self.longest)
        if not self.ended:
            self.at = time.perf_counter()
            self.shoot()
        if self.twice and not self.ended:
            time.sleep(numbers.random() * 0.01)
            if not self.ended:
                self.shoot()
"""

WORK = """
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from phi_magic import Phi
[model] = rest
ICE = "Write a haiku about ice hockey"
TURNS, HAIKU = [ICE, "And snow"], [f"Write a haiku about {n}" for n in range(12)]
ENTRY = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "array", "items": {"type": "integer"}}},
         "required": ["a", "b"]}
phi = Phi(model=model, n_threads=1, max_tokens=200, temperature=1.2, profile="speed")
shell = InteractiveShell.instance(display_pub_class=CapturingDisplayPublisher)
shell.kernel = None  # what a notebook's shell has
shell.run_line_magic("load_ext", "phi_magic")
shell.run_line_magic("config", f"Phi.model = {model!r}")
shell.run_line_magic("config", "Phi.refresh_interval = 0.001")
kept = None
def load():
    phi.unload()
    phi.load()
def cell():
    shell.user_ns.pop("reply", None)
    shell.display_pub.outputs.clear()
    try:
        shell.run_cell_magic("phi", "--out reply --temperature 1.2 --repeat-penalty 1", ICE)
    except KeyboardInterrupt:
        if "reply" in shell.user_ns:
            assert any("phi_magic" in output["metadata"] for output in shell.display_pub.outputs[-2:])
        raise
WORKS = {
    "load": load,
    "prefill": lambda: phi("word " * numbers.randrange(50, 400) + str(numbers.random()), max_tokens=2),
    "decode": lambda: phi(ICE),
    "redraw": cell,
    "conversation": lambda: [phi.chat("c").reset(), *(phi.chat("c")(said, temperature=0) for said in TURNS)],
    "map": lambda: phi.map(HAIKU, progress=False, max_tokens=60, temperature=0),
    "sweep": lambda: phi.sweep(ICE, temperature=[0.5, 1, 2], seed=range(1, 5), max_tokens=60, progress=False),
    "grammar": lambda: phi(ICE, schema=ENTRY, max_tokens=60),
    "looking": lambda: [phi.look(ICE, tuple(range(300, 300 + n))) for n in range(4)],
}
def answer():
    return phi(ICE, temperature=0, max_tokens=20).text
# What stays of the works that write several answers: each as it would have been, or its beginning.
KEPT = {
    "conversation": lambda: [turn.reply for turn in phi.chat("c").turns],
    "map": lambda: phi.mapped,
    "sweep": lambda: phi.mapped,
}
whole, takes = {}, {}
for name, work in [*WORKS.items()] * 2:  # once more, when all is imported
    started = time.perf_counter()
    work()
    takes[name] = time.perf_counter() - started
    whole[name] = [reply.text for reply in KEPT[name]()] if name in KEPT else []
def check(name):
    replies = KEPT[name]()
    for reply, text in zip(replies, whole[name]):
        # a character that was cut in two ends as U+FFFD
        assert text == reply.text or (text.startswith(reply.text.rstrip("\ufffd")) and reply.finish_reason == "interrupted")
    if name == "conversation":
        assert [reply.prompt for reply in replies] == TURNS[:len(replies)]
        assert phi.last is None or len(phi.last.messages) <= 2 * len(replies)  # what was sent again is there still
fresh = answer()
seen = {name: {"hit": 0, "late": 0.0} for name in WORKS}
for number in range(int(count)):
    name = list(WORKS)[number % len(WORKS)]
    phi.last, phi.mapped = None, ()
    shot = Shot(takes[name], number // len(WORKS) % 3 == 0).at_work(WORKS[name])
    kept = shot.hit or kept
    seen[name]["hit"] += shot.hit is not None
    seen[name]["late"] = max(seen[name]["late"], shot.late)
    if phi.last is not None and phi.last.finish_reason == "interrupted":
        written = "".join(token.text for token in phi.last.tokens).strip()
        assert phi.last.text or not written or written.startswith("<"), phi.last.tokens  # a control token has no text
    if name in KEPT:
        check(name)
    assert answer() == fresh, (number, name)
Path(outcome).write_text(json.dumps(seen))
"""

IMPORT = """
[model] = rest
def answer():
    from phi_magic import Phi
    return Phi(model=model, n_threads=1, temperature=0)("Write a haiku about ice hockey", max_tokens=5).text
shot = Shot(0.5, int(count) % 2).at_work(answer)
Path(outcome).write_text(json.dumps({"hit": shot.hit is not None, "late": shot.late, "text": answer()}))
"""

PULL = """
import os
model, longest = rest
from phi_magic.models.files import resolve
shot = Shot(float(longest), int(count) % 2).at_work(lambda: resolve(model, notify=lambda _: None))
path = resolve(model, notify=lambda _: None).path
Path(outcome).write_text(json.dumps({"hit": shot.hit is not None, "late": shot.late, "size": path.stat().st_size}))
"""


@pytest.mark.parametrize("count", [36, pytest.param(450, marks=pytest.mark.torture)])
def test_whatever_is_interrupted_the_next_answer_is_that_of_a_fresh_process(child, figure, count):
    seen = child(WORK, count, 1, DEMO, before=SHOOT)
    for name, what in seen.items():
        assert what["late"] < (SOON_WHILE_LOADING if name == "load" else SOON), seen
    hit = sum(what["hit"] for what in seen.values())
    assert hit > count / 3
    latest = max(what["late"] for name, what in seen.items() if name != "load")
    figure(
        LINE + ", ".join(seen),
        f"{count}, {hit} in time to end something: what was written stays, and every next greedy answer is as before; "
        f"at most {latest:.3f} s, {seen['load']['late']:.3f} s while loading",
    )


@pytest.mark.parametrize("count", [3, pytest.param(40, marks=pytest.mark.torture)])
def test_an_interrupted_import_can_be_made_again(child, figure, count):
    seen = [child(IMPORT, number, number, DEMO, before=SHOOT) for number in range(count)]
    assert len({one["text"] for one in seen}) == 1
    latest = max(one["late"] for one in seen)
    assert latest < SOON_WHILE_LOADING
    hit = sum(one["hit"] for one in seen)
    assert hit or count < 10  # a few may all come too late
    figure(
        LINE + "the imports of a first question",
        f"{count}, {hit} in time: the next question is answered; {latest:.3f} s",
    )


@pytest.mark.hub
@pytest.mark.parametrize("count", [2, pytest.param(20, marks=pytest.mark.torture)])
def test_an_interrupted_download_goes_on(child, figure, tmp_path, monkeypatch, count):
    content = tmp_path / "content.gguf"
    content.write_bytes(b"GGUF" + random.Random(1).randbytes(30_000_000))
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    seen = []
    with Hub() as hub:
        hub.add("owner/repo", "model.gguf", content)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        for number in range(count):
            monkeypatch.setenv("HF_HOME", str(tmp_path / f"cache{number}"))
            seen.append(child(PULL, number, number, "owner/repo/model.gguf", 0.4, before=SHOOT))
    assert {one["size"] for one in seen} == {content.stat().st_size}
    latest = max(one["late"] for one in seen)
    assert latest < SOON_WHILE_LOADING
    hit = sum(one["hit"] for one in seen)
    assert hit or count < 10  # a few may all come too late
    figure(LINE + "a download", f"{count}, {hit} in time: the next pull goes on and ends; {latest:.3f} s")
