"""A model's file that is shortened, rewritten, replaced or deleted while it is loaded."""

from __future__ import annotations

import json

import pytest

CHANGES = {
    "shortened": "os.truncate(path, 5000)",
    "emptied": "os.truncate(path, 0)",
    "rewritten": "shutil.copyfile(sound, path)",
    "replaced": "shutil.copyfile(sound, path + '.new'); os.replace(path + '.new', path)",
    "deleted": "os.unlink(path)",
}

# The file is changed before the next answer or in the middle of one.
CHANGE = """
import json, os, shutil, sys
from pathlib import Path
from phi_magic import Phi, PhiError
outcome, sound, path, changes, rounds = sys.argv[1:]
seen = []
phi = Phi(model=path, n_threads=1, temperature=0)
def ask():
    try:
        return phi("ice", max_tokens=5, identify=False).text
    except PhiError as error:
        return f"refused: {error}"
for change, code in [*json.loads(changes).items()] * int(rounds):
    for during in (False, True):
        Path(path).unlink(missing_ok=True)
        shutil.copyfile(sound, path)
        fresh = ask()
        said = text = ""
        if during:
            stream = phi.stream("ice", max_tokens=60, identify=False)
            next(stream)
            exec(code)
            try:
                stream.run()
            except PhiError as error:
                said = str(error)
            text = stream.reply.text
        else:
            exec(code)
        seen.append({"change": change, "during": during, "fresh": fresh, "text": text, "said": said, "next": ask()})
Path(outcome).write_text(json.dumps(seen))
"""


@pytest.mark.parametrize("rounds", [1, pytest.param(50, marks=pytest.mark.torture)])
def test_no_change_of_a_loaded_file_ends_the_kernel(slow_model, tmp_path, child, figure, rounds):
    told = 0
    outcomes = child(CHANGE, slow_model, tmp_path / "model.gguf", json.dumps(CHANGES), rounds)
    for seen in outcomes:
        told += bool(seen["said"])
        assert "\n" not in seen["said"]
        if seen["during"]:
            assert seen["said"] == "" or "the model's process was ended by signal" in seen["said"]
            assert seen["text"]  # what there was stays
        if seen["change"] in ("shortened", "emptied"):
            assert not seen["during"] or "(SIGBUS)" in seen["said"]
            assert seen["next"].startswith("refused: ")
        elif seen["change"] == "deleted":
            assert seen["next"].startswith("refused: ")
        else:
            assert seen["next"] == seen["fresh"]
    figure(
        "A loaded model's file is shortened, rewritten, replaced or deleted",
        f"{len(outcomes)} changes, half of them during an answer: {told} ended the worker and were told in one line, the "
        "others were answered; the kernel lived",
    )
