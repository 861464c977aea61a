"""%%phi_map in a real kernel: what an interrupt leaves, and how the same cell goes on."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.kernel
ROWS = 'topics = [{"topic": f"day {number}"} for number in range(60)]'
MAP = "%%phi_map topics --seed 1 -n 20 --cache answers.sqlite -o kept\nWrite about {{ topic }}"
FINISHED = "[reply.text for reply in kept if reply.finish_reason != 'interrupted']"


@pytest.fixture
def phi(kernel, slow_start):
    kernel.run(f"{slow_start}\n{ROWS}")
    return kernel


def test_an_interrupt_keeps_the_finished_rows_and_the_same_cell_goes_on(phi):
    def some_are_done(message):
        if message["msg_type"] != "update_display_data":
            return False
        rows = re.search(r"([\d,]+) of 60 rows", message["content"]["data"]["text/plain"])
        return bool(rows) and rows[1] != "0"

    asked = phi.submit(MAP)
    queued = phi.submit("queued = True")
    done = phi.follow(asked, phi.interrupt_once(some_are_done))
    assert done.reply["ename"] == "KeyboardInterrupt", done.stderr
    assert phi.follow(queued).reply["status"] == "aborted"
    states = [shown["data"]["text/plain"] for shown in done.displays]
    assert len({shown["transient"]["display_id"] for shown in done.displays}) == 1
    assert "<progress" in done.displays[-2]["data"]["text/html"]
    said = re.match(r"interrupted after (\d+) of 60 rows", states[-1])
    assert said
    assert 1 <= int(said[1]) < 60
    kept = phi.run(f"first = {FINISHED}\nprint(len(first), len(kept), 'queued' in globals())").stdout
    assert kept.split() == [said[1], "60", "False"]

    again = phi.run(MAP)
    assert again.reply["status"] == "ok", again.stderr
    shown = again.displays[-1]["data"]["text/plain"]
    assert shown.startswith("60 rows · 1,200 tokens · 0 failed · ")
    reused = re.search(r"(\d+) from the cache", shown)
    assert reused
    assert int(reused[1]) >= int(said[1])
    assert phi.run(f"print(len({FINISHED}), set(first) <= set({FINISHED}))").stdout.split() == ["60", "True"]

    whole = phi.run(MAP)
    assert "60 from the cache" in whole.displays[-1]["data"]["text/plain"]


def test_a_killed_worker_leaves_the_rows_and_the_kernel(phi):
    killing = (
        "import os, signal, threading\nfrom phi_magic.generation.worker import shared\n"
        "from phi_magic.tables.labelling import Labelling\nfollowing = Labelling.__iter__\n"
        "def killed(labelling):\n"
        "    for index in following(labelling):\n"
        "        if labelling.progress.done == 3 and shared.pid:\n"
        "            os.kill(shared.pid, signal.SIGKILL)\n"
        "        yield index\n"
        "Labelling.__iter__ = killed"
    )
    phi.run(killing)
    done = phi.run(MAP)
    assert done.reply["ename"] == "UsageError"
    assert "signal 9" in done.reply["evalue"]
    assert done.displays[-1]["data"]["text/plain"].startswith("interrupted after ")
    assert done.displays[-1]["metadata"]["phi_magic"]["replies"]
    assert int(phi.run(f"print(len({FINISHED}))").stdout) >= 3
