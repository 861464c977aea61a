"""``await`` and ``async for`` in a notebook's cell: the event loop stays free, and an interrupt keeps what there is."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.kernel
TICKING = """
import asyncio
from phi_magic import Phi
ticks = []
async def ticking():
    while True:
        ticks.append(len(pieces))
        await asyncio.sleep(0.01)
pieces = []
ticker = asyncio.get_running_loop().create_task(ticking())
"""


@pytest.fixture
def phi(kernel, slow_model):
    kernel.run(f"{TICKING}\nphi = Phi(model={str(slow_model)!r}, n_threads=1, seed=1)")
    return kernel


def test_await_gives_the_whole_reply(phi):
    done = phi.run("reply = await phi.stream('Write about ice', max_tokens=30)\nprint(reply.usage.completion_tokens)")
    assert done.stdout.split() == ["30"], done.stderr
    assert phi.run("print(phi('Write about ice', max_tokens=30).text == reply.text)").stdout.split() == ["True"]


def test_another_task_runs_between_the_pieces(phi):
    phi.run("async for piece in phi.stream('Write about ice', max_tokens=40):\n    pieces.append(piece)")
    seen = phi.run("print(len(pieces), len(set(ticks)))").stdout
    pieces, between = map(int, seen.split())
    assert pieces >= 20
    assert between >= 10  # moments that the other task saw, each with another number of pieces


def test_an_interrupt_ends_it_and_keeps_what_there_is(phi):
    code = (
        "async for piece in phi.stream('Write about ice', max_tokens=3000):\n"
        "    pieces.append(piece)\n"
        "    print(len(pieces), flush=True)"
    )

    def fifth(message):
        return message["msg_type"] == "stream" and "5" in message["content"]["text"]

    asked = phi.submit(code)
    queued = phi.submit("queued = True")
    done = phi.follow(asked, phi.interrupt_once(fifth))
    assert done.reply["status"] == "error"
    assert phi.follow(queued).reply["status"] == "aborted"
    kept = phi.run("print(phi.last.finish_reason, len(pieces) >= 5, phi.last.text.startswith(''.join(pieces)))").stdout
    assert kept.split() == ["interrupted", "True", "True"]
    after = phi.run("print(phi('Write about ice', max_tokens=3).usage.completion_tokens)")
    assert after.stdout.split() == ["3"], after.stderr
