"""%phi_models pull in a real kernel, from a hub on the loopback: what a user of a notebook sees."""

from __future__ import annotations

from importlib.resources import files

import pytest

from tests.kernel.kernels import LiveKernel

pytestmark = pytest.mark.hub

NAME = "owner/repo/model.gguf"
PULL = f"%phi_models pull {NAME}"


@pytest.fixture
def kernel(hub, content, tmp_path, monkeypatch):
    """A kernel with the extension, whose hub has a model that answers, one behind a licence, and a large one."""
    demo = files("phi_magic") / "demo" / "phi-demo.gguf"
    hub.add("owner/repo", "model.gguf", demo)
    hub.add("owner/gated", "model.gguf", demo, gated=True)
    for name, value in {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.url, "NO_PROXY": "*"}.items():
        monkeypatch.setenv(name, value)
    kernel = LiveKernel()
    kernel.run("%load_ext phi_magic")
    yield kernel
    kernel.close()


def bars(done):
    """The progress bars that a cell shows, as text: widgets where ipywidgets is there."""
    shown = [content["data"] for content in done.displays]
    return [data["text/plain"] for data in shown if "application/vnd.jupyter.widget-view+json" in data]


def test_a_pull_shows_how_much_and_how_far_and_the_second_makes_no_request(kernel, hub):
    done = kernel.run(PULL)
    assert done.reply["status"] == "ok", done.reply
    assert f"{NAME}: downloading" in done.stderr
    [bar] = bars(done)
    assert bar.startswith("model.gguf")
    [line] = done.stdout.splitlines()
    assert line.startswith(f"{NAME}: ")
    assert line.endswith("model.gguf")
    hub.requests.clear()
    again = kernel.run(PULL)
    assert again.stdout == done.stdout
    assert not bars(again)
    assert not again.stderr
    assert not hub.requests


def test_what_was_pulled_is_listed_answers_and_is_removed(kernel, hub):
    kernel.run(PULL)
    hub.requests.clear()
    listed = kernel.run("%phi_models").displays[-1]["data"]["text/plain"]
    [row] = [line for line in listed.splitlines() if line.startswith(NAME)]
    assert "cached" in row
    assert kernel.run(f"%phi -q -o reply -m {NAME} Write a haiku about ice\nprint(bool(reply.text))").stdout == "True\n"
    assert "loaded" in kernel.run("%phi_models").displays[-1]["data"]["text/plain"]
    assert "freed" in kernel.run(f"%phi_models rm -y {NAME}").stdout
    assert NAME not in kernel.run("%phi_models").displays[-1]["data"]["text/plain"]
    assert not hub.requests


def test_an_interrupt_keeps_what_came_and_stops_the_queue(kernel, hub):
    hub.fail(stall=1_500_000)
    asked = kernel.submit(PULL)
    queued = kernel.submit("queued = True")
    done = kernel.follow(asked, kernel.interrupt_once(lambda message: message["msg_type"] == "display_data"))
    assert done.reply["ename"] == "KeyboardInterrupt"
    assert "the next pull goes on from there" in done.stderr
    assert kernel.follow(queued).reply["status"] == "aborted"
    hub.requests.clear()
    assert kernel.run(PULL).reply["status"] == "ok"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("owner/gated/model.gguf", "accept its licence at"),
        ("owner/rebo/model.gguf", "no repository owner/rebo"),
        ("owner/repo/modle.gguf", "there are model.gguf"),
        ("ph-2", "did you mean phi-2?"),
    ],
)
def test_what_is_refused_is_one_line_and_stops_run_all(kernel, name, says):
    asked, queued = kernel.submit(f"%phi_models pull {name}"), kernel.submit("queued = True")
    done = kernel.follow(asked)
    assert done.reply["ename"] == "UsageError"
    assert says in done.reply["evalue"]
    assert "\n" not in done.reply["evalue"]
    assert done.stderr == f"UsageError: {done.reply['evalue']}\n"
    assert kernel.follow(queued).reply["status"] == "aborted"


def test_without_a_network_the_way_round_it_is_named(kernel, hub):
    hub.go_away()
    done = kernel.run(PULL)
    assert done.reply["ename"] == "UsageError"
    assert "no connection to" in done.reply["evalue"]
    assert kernel.run("%phi -q -o reply -m demo Write a haiku about ice\nprint(bool(reply.text))").stdout == "True\n"
