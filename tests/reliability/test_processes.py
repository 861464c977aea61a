"""Processes that fork, end, restart or load the extension again while the model is at work."""

from __future__ import annotations

import pytest

from tests.kernel.kernels import LiveKernel
from tests.processes import gone
from tests.reliability.models import DEMO

FORK = """
import json, multiprocessing, sys, threading
from pathlib import Path
from phi_magic import Phi, PhiError
outcome, model, count = sys.argv[1:]
phi = Phi(model=model, n_threads=1, temperature=0, max_tokens=20)
def ask(queue):
    try:
        queue.put("right" if phi("Write a haiku").text == fresh else "wrong")
    except PhiError as error:
        queue.put(f"refused: {error}")
fresh, said = phi("Write a haiku").text, set()
fork = multiprocessing.get_context("fork")
for number in range(int(count)):
    busy = threading.Thread(target=lambda: phi("Write a haiku about tea", temperature=1, max_tokens=200))
    if number % 2:
        busy.start()  # the lock is held, and OpenMP at work, when the process forks
    queue = fork.SimpleQueue()
    other = fork.Process(target=ask, args=(queue,))
    other.start()
    said.add(queue.get())
    other.join(30)
    assert other.exitcode == 0, other.exitcode
    if number % 2:
        busy.join()
    assert phi("Write a haiku").text == fresh
Path(outcome).write_text(json.dumps(sorted(said)))
"""

END = """
import sys, threading, time
from phi_magic import Phi
_, model, seconds, kind = sys.argv[1:]
phi = Phi(model=model, n_threads=2, max_tokens=4000, temperature=1)
def work():
    if kind == "map":
        phi.map(["ice"] * 8, progress=False)
    else:
        phi("ice " * (900 if kind == "prefill" else 1))
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
time.sleep(float(seconds))
"""

RELOAD = """
import gc, time
from phi_magic.widgets.panel import Panel
get_ipython().run_line_magic("phi_panel", "ice")
[panel] = [one for one in gc.get_objects() if isinstance(one, Panel) and one.widget.comm is not None]  # not closed yet
panel.ask()
while panel._thread.busy and not panel._stream.reply.tokens:
    time.sleep(0.01)
get_ipython().run_line_magic("reload_ext", "phi_magic")
panel.wait()
print(panel._stream.reply.finish_reason)
del panel
gc.collect()
"""


def check_that_it_answers(kernel):
    assert kernel.run("%%phi -n 3 -o reply\nice").reply["status"] == "ok"
    assert kernel.run("print(reply.usage.completion_tokens)").stdout == "3\n"


@pytest.mark.skipif("not hasattr(os, 'fork')", reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork")
@pytest.mark.parametrize("count", [4, pytest.param(200, marks=pytest.mark.torture)])
def test_a_forked_process_asks_a_worker_of_its_own_and_its_parent_goes_on(child, figure, count):
    (said,) = child(FORK, DEMO, count)
    assert said == "right"
    figure("fork after load", f"{count} forks, half of them during an answer: child and parent answered alike")


@pytest.mark.parametrize("count", [6, pytest.param(100, marks=pytest.mark.torture)])
def test_python_ends_in_the_middle_of_an_answer(slow_model, child, figure, count):
    for number in range(count):
        model = (slow_model, DEMO)[number % 3 == 2]
        child(END, model, 0.1 + 0.07 * (number % 20), ["decode", "prefill", "map"][number % 3], timeout=60)
    figure("Python ends with live workers", f"{count} ends with three threads asking: none crashed or hung")


@pytest.mark.kernel
@pytest.mark.parametrize("count", [1, pytest.param(20, marks=pytest.mark.torture)])
def test_a_kernel_restarts_in_the_middle_of_an_answer(slow_start, figure, count):
    kernel = LiveKernel()
    try:
        for _ in range(count):
            kernel.run(slow_start)
            check_that_it_answers(kernel)
            worker = int(kernel.run("from phi_magic.generation.worker import shared; print(shared.pid)").stdout)
            started = kernel.submit("%%phi -n 2000\nice")
            while not kernel.executions[started].displays:
                message = kernel.client.get_iopub_msg(timeout=60)
                kernel.executions.get(
                    message["parent_header"].get("msg_id"), kernel.executions[started]
                ).messages.append((0.0, message))
            kernel.manager.restart_kernel(now=False)
            assert gone(worker, 10)
            kernel.client.wait_for_ready(timeout=60)
            kernel.run(slow_start)
            check_that_it_answers(kernel)
    finally:
        kernel.close()
    figure("Kernel restart during an answer", f"{count} restarts: each kernel was ready again, and answered")


@pytest.mark.kernel
@pytest.mark.parametrize("count", [1, pytest.param(20, marks=pytest.mark.torture)])
def test_the_extension_is_loaded_again_while_a_panel_answers(slow_start, figure, count):
    kernel = LiveKernel()
    try:
        for _ in range(count):
            kernel.run(slow_start)  # %config is of one loading of the extension
            done = kernel.run(RELOAD)
            assert done.reply["status"] == "ok", done.reply
            assert done.stdout == "interrupted\n"
            kernel.run(slow_start)
            check_that_it_answers(kernel)
    finally:
        kernel.close()
    figure(
        "%reload_ext while a panel answers", f"{count} reloads: each ended the answer, and the next cell was answered"
    )
