"""Under a limit on memory everything is done, or made smaller, or refused in one line; nothing is killed."""

from __future__ import annotations

import pytest

from tests.reliability.models import DEMO

# `ulimit -v`, which any process may set for itself: it counts address space, mapped weights included.
CAPPED = """
import json, resource, sys, warnings
from pathlib import Path
outcome, cap, *models = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_AS, (int(float(cap) * 1e9),) * 2)
warnings.simplefilter("ignore")  # tqdm tells that it has no thread to spare
from phi_magic import Phi, PhiError
from phi_magic.sweep import parse, sweep
seen = []
def attempt(what, act):
    try:
        act()
        seen.append((what, "done"))
    except PhiError as error:
        assert "\\n" not in str(error)
        seen.append((what, str(error)))
for model in models:
    phi = Phi(model=model, n_threads=2, temperature=0, max_tokens=4)
    attempt("load", phi.load)
    for length in (10, 600, 3000):
        attempt(f"a prompt of {length}", lambda: phi("ice " * length))
    attempt("map", lambda: phi.map(["ice " * 40] * 12, progress=False))
    attempt("sweep", sweep(phi, "ice", parse(["seed=1:9"]), temperature=1).run)
Path(outcome).write_text(json.dumps(seen))
"""
MEMORY = ("`ulimit -v`", "the prompt has", "threads")


@pytest.mark.skipif("sys.platform != 'linux'", reason="elsewhere address space is not limited so")
@pytest.mark.parametrize(
    "caps",
    [(0.5, 1.0), pytest.param((0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 1, 1.5, 2, 3, 4), marks=pytest.mark.torture)],
    ids=str,
)
def test_under_a_limit_it_is_done_or_refused(slow_model, child, figure, caps):
    counts = {}
    for cap in caps:
        seen = child(CAPPED, cap, DEMO, slow_model)
        for what, outcome in seen:
            assert outcome == "done" or any(sign in outcome for sign in MEMORY), (cap, what, outcome)
        counts[cap] = sum(outcome == "done" for _, outcome in seen), len(seen)
    assert counts[max(caps)][0] > counts[min(caps)][0]
    done = ", ".join(f"{cap} GB: {done} of {all_} done" for cap, (done, all_) in counts.items())
    figure("Load, growing context, map and sweep under a memory cap", f"{done}; the others one line; none killed")
