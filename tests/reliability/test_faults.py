"""Errors thrown where nobody expects them: at every call into C, in huggingface_hub, the display, IPython's hooks."""

from __future__ import annotations

import pytest

from tests.reliability.models import DEMO

THROW = """
import json, random, sys
from collections import Counter
from pathlib import Path
from phi_magic import Phi, PhiError
from phi_magic.engine import batch, context, grammar, llama, model, sampler
from phi_magic.engine import saved_states
from phi_magic.engine.engine import Engine
from phi_magic.interrupt import Stop
Phi.backend = engine = Engine()  # in this process, where its calls can be counted
outcome, path, functions, places = sys.argv[1:]
class Thrown(Exception):
    pass
FREES = {"llama_model_load_from_file": "llama_model_free", "llama_init_from_model": "llama_free",
         "llama_sampler_chain_init": "llama_sampler_free", "llama_batch_init": "llama_batch_free"}
class Throwing:
    # Stands in for llama.cpp's binding: counts the calls and what is to be freed, and throws in place of one of them.
    def __init__(self, library):
        self.library, self.calls, self.held, self.throw_at, self.thrown = library, Counter(), Counter(), None, []
    def __getattr__(self, name):
        found = getattr(self.library, name)
        if not (name.startswith(("llama_", "ggml_")) and hasattr(found, "argtypes") or callable(found)):
            return found
        if isinstance(found, type) or name.endswith("callback"):
            return found
        def call(*arguments):
            self.calls[name] += 1
            if self.throw_at == (name, self.calls[name]):
                self.thrown.append(name)
                raise Thrown(name)
            made = found(*arguments)
            if name in FREES and made:
                self.held[FREES[name]] += 1
            if name in FREES.values():
                self.held[name] -= 1
            return made
        return call
throwing = Throwing(llama.C)
for module in (batch, context, grammar, model, sampler, saved_states):
    if hasattr(module, "C"):
        module.C = throwing
ICE, ENTRY = "Write a haiku about ice hockey", {"type": "object", "properties": {"a": {"type": "boolean"}},
                                                 "required": ["a"]}
phi = Phi(model=path, n_threads=1, temperature=0, max_tokens=4)
LONG = "word " * 90
def work():
    # Loading, growing, saving and restoring KV states, decoding, a grammar, a wide pass, freeing.
    phi(ICE)
    chat = phi.chat("c")
    chat.reset()
    chat(LONG)
    phi("Another question, of which nothing is kept " + LONG)
    engine.idle(Stop())
    chat("And?")
    phi(ICE, schema=ENTRY)
    phi.map([ICE] * 2, progress=False)
    phi.look(ICE, (5, 6))
    phi.unload()
def answers():
    return [phi(ICE).text, phi(LONG).text, phi(ICE, schema=ENTRY).text, phi.map([ICE], progress=False)[0].text]
work()
traits, fresh = phi.trait_values(), answers()
said = [turn.reply.text for turn in phi.chat("c").turns]
phi.unload()
throwing.calls.clear()
work()
calls = dict(throwing.calls)
assert calls.keys() >= FREES.keys() | set(FREES.values()) and not any(throwing.held.values())
numbers = random.Random(1)
chosen = numbers.sample(sorted(calls), min(int(functions), len(calls)))
# Of each function its first call, its last, and any others.
at = sorted({(name, (1, calls[name])[place] if place < 2 else numbers.randint(1, calls[name])) for name in chosen
             for place in range(int(places))})
for place in at:
    throwing.calls.clear()
    throwing.throw_at = place
    try:
        work()
    except (Thrown, PhiError):  # what is thrown within llguidance it makes an error of its own of
        pass
    throwing.throw_at = None
    assert answers() == fresh, place
    turns = [turn.reply for turn in phi.chat("c").turns]
    assert [turn.prompt for turn in turns] == [LONG, "And?"][:len(turns)], place
    assert all(text.startswith(turn.text) for turn, text in zip(turns, said)), place
    assert phi.trait_values() == traits
    phi.unload()
    assert not any(throwing.held.values()) or place[0] in FREES.values(), (place, throwing.held)
    throwing.held.clear()
Path(outcome).write_text(json.dumps({"thrown": throwing.thrown, "functions": sorted(calls)}))
"""

DISPLAY = """
import json, sys
from pathlib import Path
from IPython.core.displaypub import DisplayPublisher
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from phi_magic import Phi
from phi_magic.magics import completing
from phi_magic.models import files
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
phi = next(one for one in shell.configurables if isinstance(one, Phi))
traits = phi.trait_values()
def turns():
    return [(turn.reply.prompt, turn.reply.text) for turn in phi.chat("c").turns]
def check(earlier):
    assert Phi(model=path, temperature=0, max_tokens=12)("ice").text == fresh
    assert phi.trait_values() == traits
    assert turns()[:len(earlier)] == earlier and len(turns()) <= len(earlier) + 1
tried = []
for name, options, body in CELLS:
    throw_at = 1
    while True:
        Broken.calls, Broken.throw_at, earlier = 0, throw_at, turns()
        try:
            shell.run_cell_magic(name, options, body)
        except (Thrown, UsageError):
            pass
        reached = Broken.calls >= throw_at
        Broken.throw_at = None
        check(earlier)
        if not reached or throw_at > 12:
            break
        throw_at += 1
    tried.append(throw_at - 1)
# IPython's hooks: the events that the magics listen to, and completion
hooks = 0
for event in ("pre_run_cell", "post_run_cell"):
    def throw(*_):
        raise Thrown
    shell.events.register(event, throw)
    earlier = turns()
    shell.run_cell("%%phi --quiet --out after\\nice")
    assert shell.user_ns["after"].text == fresh
    shell.events.unregister(event, throw)
    check(earlier)
    hooks += 1
shell.Completer.use_jedi = False  # it offers words of its own
def offered(line):
    return shell.complete(line.split()[-1], line, len(line))[1]
for place, function, line in [(files, "on_this_machine", "%phi_models load phi-"), (completing, "names", "%%phi --chat c")]:
    real, reached, before = getattr(place, function), [], offered(line)
    def throw():
        reached.append(function)
        raise Thrown
    setattr(place, function, throw)
    shown, sys.excepthook = sys.excepthook, lambda *_: None  # IPython shows there what a completer throws, and goes on
    offered(line)
    sys.excepthook = shown
    setattr(place, function, real)
    assert reached and before and offered(line) == before, line
    check(turns())
    hooks += 1
shell.run_line_magic("unload_ext", "phi_magic")
Path(outcome).write_text(json.dumps([tried, hooks]))
"""

HUB = """
import json, shutil, sys
from pathlib import Path
outcome, name, size = sys.argv[1:]
from phi_magic.models import files as models, hub_cache
from phi_magic.errors import PhiError
class Thrown(OSError):
    pass
def pull(name=name):
    return models.resolve(name, notify=lambda _: None)
def look_for_another():
    pull(name.replace("model", "other"))
hub, seen = hub_cache.library(), {}
hub.utils.tqdm
bars = sys.modules["huggingface_hub.utils.tqdm"]  # hub.utils always gives what stands there
for place, function, act in [
    (hub, "try_to_load_from_cache", pull), (hub, "get_hf_file_metadata", pull), (hub, "hf_hub_url", pull),
    (hub, "hf_hub_download", pull), (hub, "get_session", pull), (hub, "HfApi", look_for_another),
    (hub, "scan_cache_dir", models.cached), (hub.utils, "build_hf_headers", pull),
    (hub.utils, "hf_raise_for_status", pull), (bars, "tqdm", pull), (hub.utils, "WeakFileLock", pull),
]:
    shutil.rmtree(hub_cache.folder(), ignore_errors=True)
    real, reached = getattr(place, function), []
    def throw(*arguments, **options):
        reached.append(function)
        raise Thrown(5, "Input/output error")
    setattr(place, function, throw)
    try:
        act()
    except PhiError as error:
        seen[function] = str(error)
    setattr(place, function, real)
    assert reached and function in seen, function
    assert pull().path.stat().st_size == int(size), function
Path(outcome).write_text(json.dumps(seen))
"""


@pytest.mark.parametrize(("functions", "places"), [(8, 1), pytest.param(1000, 12, marks=pytest.mark.torture)])
def test_an_error_in_any_call_into_c_leaves_everything_in_order(child, figure, functions, places):
    seen = child(THROW, DEMO, functions, places)
    assert len(set(seen["thrown"])) > 3
    figure(
        "Errors thrown at calls into C",
        f"{len(seen['thrown'])} calls, {len(set(seen['thrown']))} of {len(seen['functions'])} functions: "
        "the next answers, the conversation and the traits as before, and all memory freed",
    )


def test_an_error_in_the_display_or_a_hook_leaves_everything_in_order(child, figure):
    tried, hooks = child(DISPLAY, DEMO)
    assert min(tried[:4]) > 1  # the fifth cell is refused before anything is shown
    figure(
        "Errors thrown by the display and by IPython's hooks",
        f"{sum(tried) + hooks}: the next answer, the conversation and the traits as before",
    )


@pytest.mark.hub
def test_an_error_in_huggingface_hub_is_one_line(child, figure, tmp_path, monkeypatch):
    from tests.hub.server import Hub

    content = tmp_path / "content.gguf"
    content.write_bytes(b"GGUF" + bytes(100_000))
    with Hub() as hub:
        hub.add("owner/repo", "model.gguf", content)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        seen = child(HUB, "owner/repo/model.gguf", content.stat().st_size)
    assert all(len(said.splitlines()) == 1 for said in seen.values())
    figure("Errors thrown by huggingface_hub", f"{len(seen)} functions: one line each, and the next pull succeeds")
