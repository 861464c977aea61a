"""A model's file that is shortened, rewritten, replaced or deleted while it is loaded."""

from __future__ import annotations

import json
import sys

import pytest

from tests.reliability.models import DEMO

CHANGES = {
    "shortened": "os.truncate(path, 5000)",
    "emptied": "os.truncate(path, 0)",
    "rewritten": "shutil.copyfile(demo, path)",
    "replaced": "shutil.copyfile(demo, path + '.new'); os.replace(path + '.new', path)",
    "deleted": "os.unlink(path)",
}

# Another process changes the file, before the next answer or in the middle of one.
CHANGE = """
import json, shutil, subprocess, sys, threading, time
from pathlib import Path
from phi_magic import Phi, PhiError
from phi_magic.engine import engine
outcome, demo, path, changes, rounds, leases = sys.argv[1:]
if leases == "no":  # as on another system, or on a file system of the network
    def none(path, on_break):
        raise OSError("no leases here")
    engine.Lease = none
seen = []
phi = Phi(model=path, n_threads=1, temperature=0)
def ask():
    try:
        return phi("Write a haiku about ice hockey", max_tokens=5).text
    except PhiError as error:
        return f"refused: {error}"
for change, code in [*json.loads(changes).items()] * int(rounds):
    for during in (False, True):
        Path(path).unlink(missing_ok=True)
        shutil.copyfile(demo, path)
        fresh = ask()
        assert engine.shared._mapped is (leases == "yes")
        def write():
            subprocess.run([sys.executable, "-c", program, path, demo], check=True, timeout=30)
        program = "import os, shutil, sys; path, demo = sys.argv[1:]; " + code
        said = text = ""
        if during:
            stream = phi.stream("Write a haiku about ice hockey", max_tokens=40)
            next(stream)
            writer = threading.Thread(target=write)
            writer.start()
            while writer.is_alive() and not stream.stopping.requested:
                time.sleep(0.001)
            try:
                stream.run()
            except PhiError as error:
                said = str(error)
            text = stream.reply.text
            writer.join(30)
            assert not writer.is_alive()
        else:
            write()
        seen.append({"change": change, "during": during, "fresh": fresh, "text": text, "said": said, "next": ask()})
Path(outcome).write_text(json.dumps(seen))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="leases are Linux's")
@pytest.mark.parametrize("rounds", [1, pytest.param(50, marks=pytest.mark.torture)])
def test_no_change_of_a_loaded_file_ends_the_process(tmp_path, child, figure, rounds):
    count = 0
    for leases in ("yes", "no"):
        for seen in child(CHANGE, DEMO, tmp_path / "model.gguf", json.dumps(CHANGES), rounds, leases):
            count += 1
            in_place = seen["change"] in ("shortened", "emptied", "rewritten")
            if seen["during"] and in_place and leases == "yes":
                assert "model.gguf is being written by another program" in seen["said"]
                assert seen["text"]  # what there was stays
            elif seen["during"]:
                assert seen["said"] == ""
                assert seen["text"].startswith(seen["fresh"])
            lasting = seen["change"] in ("rewritten", "replaced")
            assert seen["next"] == seen["fresh"] if lasting else seen["next"].startswith("refused: ")
            assert "\n" not in seen["said"]
    figure(
        "A loaded model's file is shortened, rewritten, replaced or deleted",
        f"{count} changes, half of them during an answer: one line, or the answer of the file that is there then; "
        "no crash",
    )
