"""The model's process is ended at random moments of all that it does: the kernel goes on, and nothing is lost."""

from __future__ import annotations

import pytest

from tests.reliability.models import DEMO

KILLS = """
import html, json, os, random, re, signal, sys, threading, time
from pathlib import Path
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
from phi_magic import Phi, PhiError
from phi_magic.generation.worker import shared
from phi_magic.widgets.explorer import Explorer
from phi_magic.widgets.panel import Panel
outcome, model, name, kills = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
shell = InteractiveShell.instance(
    config=Config({"HistoryManager": {"enabled": False}}), display_pub_class=CapturingDisplayPublisher
)
shell.run_line_magic("load_ext", "phi_magic")
shell.run_line_magic("config", f"Phi.model = {model!r}")
shell.user_ns["precious"] = precious = list(range(1000))
numbers = random.Random(name)
phi = Phi(model=model, seed=3, max_tokens=60, n_threads=1)
PROMPT, LONG = "Write a haiku about ice hockey", "ice and snow " * 150
PROMPTS = [f"Write a haiku about {word}" for word in "ice tea snow rain sun moon sea trees".split()]
SCHEMA = {"type": "object", "properties": {"a": {"type": "boolean"}, "b": {"type": "integer"}}, "required": ["a", "b"]}
def seen_as(reply, whole):
    "What was kept of an answer is how it begins, and a whole one is the whole."
    assert whole.text.startswith(reply.text), (reply.text, whole.text)
    assert reply.finish_reason == "interrupted" or reply.text == whole.text
def answer(prompt, whole, **options):
    try:
        phi(prompt, **options)
    finally:
        if phi.last.prompt == prompt:
            seen_as(phi.last, whole)
def answers(whole):
    phi.mapped = ()
    try:
        phi.map(PROMPTS, progress=False)
    finally:
        for reply, one in zip(phi.mapped, whole):
            seen_as(reply, one)
def cell(source):
    result = shell.run_cell(source)
    if result.error_in_exec is not None:
        raise PhiError(str(result.error_in_exec))
def shown(widget, begin):
    begin()
    widget.wait()
    widget.close()
def explore():
    explorer = Explorer(Phi(model=model, n_threads=1), PROMPT)
    shown(explorer, explorer.begin)
    told_by(explorer)
def panel():
    one = Panel(Phi(model=model, max_tokens=40, n_threads=1, seed=3), PROMPT)
    shown(one, one.ask)
    if panelled:
        seen_as(one._stream.reply, panelled[0])
    else:
        panelled.append(one._stream.reply)
    told_by(one)
def told_by(widget):
    "A widget says in its status line what a cell raises."
    line = html.unescape(re.sub("<[^>]*>", "", widget.status.widget.value))
    if "the model's process" in line:
        raise PhiError(line)
def sweep():
    shell.user_ns.pop("swept", None)
    try:
        cell("%%phi_sweep seed=1,2,3 -n 20 -o swept\\nice")
    finally:
        if "swept" in shell.user_ns:
            for text, whole in zip(shell.user_ns["swept"]["text"], sweeps or shell.user_ns["swept"]["text"]):
                assert whole.startswith(text), (text, whole)
            if not sweeps:
                sweeps.extend(shell.user_ns["swept"]["text"])
panelled, sweeps = [], []
fresh, long, made, mapped = phi(PROMPT), phi(LONG, max_tokens=1), phi(PROMPT, schema=SCHEMA), phi.map(PROMPTS, progress=False)
ACTS = {
    "load": lambda: (shared.close(), phi.load()),
    "prefill": lambda: answer(LONG, long, max_tokens=1),
    "decode": lambda: answer(PROMPT, fresh),
    "schema": lambda: answer(PROMPT, made, schema=SCHEMA),
    "map": lambda: answers(mapped),
    "sweep": sweep,
    "explorer": explore,
    "panel": panel,
}
takes = {}
for act in ACTS:
    ACTS[act]()  # imports
    phi.unload()
    started = time.monotonic()
    ACTS[act]()
    takes[act] = time.monotonic() - started
seen = {"told": 0, "unseen": 0, "acts": {}}
def kill(delay):
    before = time.monotonic()
    while not shared.pid:
        time.sleep(0.001)
    time.sleep(delay)
    if shared.pid:
        os.kill(shared.pid, getattr(signal, name))
for number in range(kills):
    act = list(ACTS)[number % len(ACTS)]
    if numbers.random() < 0.5:
        phi.unload()  # so that it dies while it starts, too
    killer = threading.Thread(target=kill, args=(numbers.uniform(0, takes[act]),))
    killer.start()
    try:
        ACTS[act]()
        seen["unseen"] += 1
    except PhiError as error:
        said = str(error)
        assert "\\n" not in said and len(said) < 1000, said
        if "the model's process" in said:
            assert name in said, said
            seen["told"] += 1
            seen["acts"][act] = seen["acts"].get(act, 0) + 1
    killer.join()
    again = phi(PROMPT)
    assert again.text == fresh.text and again.finish_reason == fresh.finish_reason
    assert shell.user_ns["precious"] is precious
Path(outcome).write_text(json.dumps(seen))
"""


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGKILL"])
@pytest.mark.parametrize("kills", [16, pytest.param(200, marks=pytest.mark.torture)])
def test_the_kernel_outlives_the_end_of_the_model_s_process(child, figure, name, kills):
    seen = child(KILLS, DEMO, name, kills)
    assert seen["told"] + seen["unseen"] == kills
    assert seen["told"] > kills // 5
    if kills > 100:  # each act was hit
        assert set(seen["acts"]) == {"load", "prefill", "decode", "schema", "map", "sweep", "explorer", "panel"}
    figure(
        f"Ends by {name} at random moments of load, prefill, decode, schema, map, sweep, explorer and panel",
        f"{kills}: kernel and variables there, partial answers kept, the next answer right",
    )
