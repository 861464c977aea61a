"""Errors thrown where nobody expects them: at every call into C, in huggingface_hub, the display, IPython's hooks."""

from __future__ import annotations

import pytest

from tests.reliability.models import DEMO

# Prepended: whoever reads ahead has the engine for a moment, and nobody for longer.
GIVEN_BACK = """
import time
from phi_magic.engine.engine import shared
def given_back():
    end = time.monotonic() + 10
    while shared._turn._queue:
        assert time.monotonic() < end, "the engine is not given back"
        time.sleep(0.01)
"""

THROW = """
import json, random, sys
from pathlib import Path
from phi_magic import Phi
from phi_magic.engine import batch, context, grammar, llama, model, sampler, shelf
from phi_magic.engine.engine import shared
outcome, path, functions, places = sys.argv[1:]
class Thrown(Exception):
    pass
class Throwing:
    # Stands in for llama.cpp's binding: counts the calls, and throws in place of one of them.
    def __init__(self, library):
        self.library, self.calls, self.throw_at, self.names = library, 0, None, []
    def __getattr__(self, name):
        found = getattr(self.library, name)
        if not (name.startswith(("llama_", "ggml_")) and hasattr(found, "argtypes") or callable(found)):
            return found
        if isinstance(found, type) or name.endswith("callback"):
            return found
        def call(*arguments):
            self.calls += 1
            if self.throw_at is None:
                self.names.append(name)
            if self.calls == self.throw_at:
                raise Thrown(name)
            return found(*arguments)
        return call
throwing = Throwing(llama.C)
for module in (batch, context, grammar, model, sampler, shelf):
    if hasattr(module, "C"):
        module.C = throwing
ICE, ENTRY = "Write a haiku about ice hockey", {"type": "object", "properties": {"a": {"type": "boolean"}},
                                                 "required": ["a"]}
phi = Phi(model=path, n_threads=1, temperature=0, max_tokens=4)
LONG = "word " * 90
def work():
    # Loading, growing, putting aside and fetching memories, decoding, a grammar, a wide pass, freeing.
    phi.unload()
    phi(ICE)
    chat = phi.chat("c")
    chat.reset()
    chat(LONG)
    phi("Another question, of which nothing is kept " + LONG)
    chat("And?")
    phi(ICE, schema=ENTRY)
    phi.map([ICE] * 2, progress=False)
    phi.look(ICE, (5, 6))
def answers():
    return [phi(ICE).text, phi(LONG).text, phi.map([ICE], progress=False)[0].text]
work()
shared.read_ahead([1]).join()
traits, fresh = phi.trait_values(), answers()
throwing.names.clear()
work()
by_name = {}
for at, name in enumerate(throwing.names, 1):
    by_name.setdefault(name, []).append(at)
numbers, total = random.Random(1), len(throwing.names)
chosen = numbers.sample(sorted(by_name), min(int(functions), len(by_name)))
# Of each function its first call, its last, and any others.
at = sorted({numbers.choice(by_name[name]) if place > 1 else by_name[name][-place] for name in chosen
             for place in range(int(places))})
thrown = set()
import threading
threading.excepthook = lambda arguments: None  # what is read ahead fails unseen
for number in at:
    throwing.calls, throwing.throw_at = 0, number
    try:
        work()
    except Thrown as error:
        thrown.add(str(error))
    throwing.throw_at = None
    throwing.names.clear()
    given_back()
    assert answers() == fresh, (number, thrown)
    chat = phi.chat("c")
    assert all(turn.reply.text for turn in chat.turns)
    assert phi.trait_values() == traits
Path(outcome).write_text(json.dumps({"total": total, "tried": len(at), "functions": sorted(by_name),
                                     "thrown": sorted(thrown)}))
"""

DISPLAY = """
import json, sys
from pathlib import Path
from IPython.core.displaypub import DisplayPublisher
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from phi_magic import Phi
from phi_magic.engine.engine import shared
outcome, path = sys.argv[1:]
class Thrown(Exception):
    pass
class Broken(DisplayPublisher):
    calls, throw_at = 0, None
    def publish(self, *arguments, **options):
        Broken.calls += 1
        if Broken.calls == Broken.throw_at:
            raise Thrown
shell = InteractiveShell.instance(display_pub_class=Broken)
shell.kernel = None
shell.run_line_magic("load_ext", "phi_magic")
for setting in (f"model = {path!r}", "refresh_interval = 0.001", "temperature = 0.0", "max_tokens = 12"):
    shell.run_line_magic("config", "Phi." + setting)
CELLS = [("phi", "--out reply --chat c", "Write a haiku"), ("phi", "-f tokens", "ice"), ("phi", "-f json", "ice"),
         ("phi_sweep", "seed=1,2 temperature=1", "ice"), ("phi", "", "word " * 1500)]
fresh = Phi(model=path, temperature=0, max_tokens=12)("ice").text
tried = 0
for name, options, body in CELLS:
    throw_at = 1
    while True:
        Broken.calls, Broken.throw_at = 0, throw_at
        try:
            shell.run_cell_magic(name, options, body)
        except (Thrown, UsageError):
            pass
        reached = Broken.calls >= throw_at
        Broken.throw_at = None
        given_back()
        assert Phi(model=path, temperature=0, max_tokens=12)("ice").text == fresh
        if not reached or throw_at > 12:
            break
        throw_at += 1
        tried += 1
# IPython's hooks: the events that the magics listen to, and completion
for event in ("pre_run_cell", "post_run_cell"):
    def throw(*_):
        raise Thrown
    shell.events.register(event, throw)
    shell.run_cell("%%phi --quiet --out after\\nice")
    assert shell.user_ns["after"].text == fresh
    shell.events.unregister(event, throw)
    tried += 1
shell.run_line_magic("unload_ext", "phi_magic")
Path(outcome).write_text(json.dumps(tried))
"""

HUB = """
import json, sys
from pathlib import Path
outcome, name = sys.argv[1:]
from phi_magic import models
from phi_magic.errors import PhiError
class Thrown(OSError):
    pass
hub, seen = models._hub(), []
for place, function in [(hub, "try_to_load_from_cache"), (hub, "get_hf_file_metadata"), (hub, "hf_hub_url"),
                        (hub, "hf_hub_download"), (hub, "get_session"), (hub.utils, "build_hf_headers"),
                        (hub.utils, "hf_raise_for_status"), (hub.utils, "tqdm"), (hub, "scan_cache_dir")]:
    real = getattr(place, function)
    def throw(*arguments, **options):
        raise Thrown(5, "Input/output error")
    setattr(place, function, throw)
    try:
        (models.cached if function == "scan_cache_dir" else lambda: models.resolve(name, notify=lambda _: None))()
        seen.append((function, "done"))
    except PhiError as error:
        assert "\\n" not in str(error)
        seen.append((function, str(error)))
    setattr(place, function, real)
Path(outcome).write_text(json.dumps([seen, models.resolve(name, notify=lambda _: None).path.stat().st_size]))
"""


@pytest.mark.parametrize(("functions", "places"), [(8, 1), pytest.param(1000, 12, marks=pytest.mark.torture)])
def test_an_error_in_any_call_into_c_leaves_everything_in_order(child, figure, functions, places):
    seen = child(THROW, DEMO, functions, places, before=GIVEN_BACK)
    assert len(seen["thrown"]) > 3
    figure(
        "Errors thrown at calls into C",
        f"{seen['tried']} calls, {len(seen['thrown'])} of {len(seen['functions'])} functions: "
        "the next answers, the conversation and the traits as before",
    )


def test_an_error_in_the_display_or_a_hook_leaves_everything_in_order(child, figure):
    tried = child(DISPLAY, DEMO, before=GIVEN_BACK)
    figure("Errors thrown by the display and by IPython's hooks", f"{tried}: the next answer as before")


@pytest.mark.hub
def test_an_error_in_huggingface_hub_is_one_line(child, figure, tmp_path, monkeypatch):
    from tests.hub.server import Hub

    content = tmp_path / "content.gguf"
    content.write_bytes(b"GGUF" + bytes(100_000))
    with Hub() as hub:
        hub.add("owner/repo", "model.gguf", content)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        seen, size = child(HUB, "owner/repo/model.gguf")
    assert size == content.stat().st_size
    figure("Errors thrown by huggingface_hub", f"{len(seen)} functions: one line each, and the next pull succeeds")
