"""JupyterLab and Notebook 7 as a person uses them: real servers, and a notebook on a page of Chromium."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import closing, contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

TIMEOUT = 120  # Seconds; a bound on hanging, not on speed.
HOW_TO_GET_CHROMIUM = "sudo apt-get install chromium (or name one: CHROMIUM=/path/to/chromium)"
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Neither front end asks at its start whether it may fetch the news.
SETTINGS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}

# Records what an element shows, once a frame where it changed.
RECORD = """element => {
    const states = element.recorded = [];
    const look = () => {
        const now = element.innerText;
        if (now !== states.at(-1)) states.push(now);
        if (element.recorded === states) requestAnimationFrame(look);
    };
    look();
}"""


def find_chromium():
    """The path of a Chromium that Playwright can drive, or None."""
    for name in (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"):
        if name and (path := shutil.which(name)):
            return path
    return None


@contextmanager
def running_chromium(path):
    """A running Chromium, for Playwright."""
    with (
        sync_playwright() as playwright,
        closing(playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)) as browser,
    ):
        yield browser


@contextmanager
def in_chromium(application="lab"):
    """For a script: a running Chromium, and a front end's server with folders of its own."""
    chromium = find_chromium() or sys.exit(f"error: Chromium is missing: {HOW_TO_GET_CHROMIUM}")
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(JupyterServer(application, Path(folder))) as server,
        running_chromium(chromium) as browser,
    ):
        yield browser, server.wait()


class JupyterServer:
    """A Jupyter server ("lab" or "notebook") on a free port of the loopback, with folders of its own."""

    def __init__(self, application, folder):
        self.application = application
        self.root = folder / "notebooks"
        self.root.mkdir(parents=True)
        overrides = folder / "config" / "labconfig" / "default_setting_overrides.json"
        overrides.parent.mkdir(parents=True)
        overrides.write_text(json.dumps(SETTINGS))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = (folder / "server.log").open("w")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", f"jupyter{application}" if application == "lab" else application),
                *("--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"),
                *(
                    "--IdentityProvider.token=",
                    "--ServerApp.disable_check_xsrf=True",
                    f"--ServerApp.root_dir={self.root}",
                ),
                "--LabApp.extension_manager=readonly",  # The other one asks the package index.
            ],
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env=os.environ
            | {f"JUPYTER_{name.upper()}_DIR": str(folder / name) for name in ("config", "data", "runtime")}
            | {"IPYTHONDIR": str(folder / "ipython"), "HF_HOME": str(folder / "hf")},
        )

    def wait(self):
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/api/status", timeout=TIMEOUT).close()
                return self
            except urllib.error.URLError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.close()
                    raise RuntimeError(f"Jupyter did not start:\n{Path(self.log.name).read_text()}") from None
                time.sleep(0.1)

    def close(self):
        self.process.terminate()
        self.process.wait(TIMEOUT)
        self.log.close()


class NotebookPage:
    """One notebook, open on a page. Cells are counted from 0, Markdown cells among them."""

    def __init__(self, page, server):
        self.page = page
        self.server = server
        self.console_errors = []
        self.requests = []
        page.set_default_timeout(TIMEOUT * 1000)
        page.on("console", lambda message: message.type == "error" and self.console_errors.append(message.text))
        page.on("pageerror", lambda error: self.console_errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    @property
    def foreign_requests(self):
        """What the page asked of any other host."""
        here = (self.server.url, self.server.url.replace("http", "ws", 1), "data:", "blob:")
        return [url for url in self.requests if not url.startswith(here)]

    def open(self, path):
        """Open a notebook under the server's root and wait for its kernel."""
        place = "lab/tree" if self.server.application == "lab" else "notebooks"
        self.page.goto(f"{self.server.url}/{place}/{path}?reset")
        # Attached, not visible: a narrow page has no room for them.
        self.page.locator(".jp-KernelName", has_text="Python 3").wait_for(state="attached")
        self.page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(state="attached")
        self.console_errors.clear()  # Notebook 7.6 has one of its own while it loads its settings.

    def cell(self, index):
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def shown(self, index):
        """The same, scrolled to: the front ends do not lay out what is out of sight, and it has no text then."""
        cell = self.cell(index)
        cell.scroll_into_view_if_needed()
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return cell

    def output(self, index):
        return self.shown(index).locator(".jp-Cell-outputArea")

    def answer(self, index):
        """What the kernel displayed, without the front end's own furniture."""
        return self.output(index).locator(".jp-OutputArea-output")

    def text(self, index):
        """The text that a cell's output shows."""
        return self.output(index).inner_text()

    def has_output(self, index):
        return self.output(index).locator(".jp-OutputArea-child").count() > 0

    def wait_for_words(self, index, count):
        """Wait until a cell's answer shows so many words."""
        self.page.wait_for_function(
            "([element, count]) => element.innerText.split(/\\s+/).length > count",
            arg=[self.cell(index).locator(".jp-Cell-outputArea").element_handle(), count],
        )

    def start(self, index):
        """Run a cell in place without waiting for it."""
        self.cell(index).locator(".jp-InputArea-editor").click()
        self.page.keyboard.press("Control+Enter")

    def wait(self, index, earlier=""):
        """Wait until a cell that was started is done: it has a number, and another than `earlier`."""
        self.page.wait_for_function(
            "([prompt, earlier]) => /\\[\\d+\\]/.test(prompt.textContent) && prompt.textContent !== earlier",
            arg=[self.prompt(index).element_handle(), earlier],
        )

    def prompt(self, index):
        return self.cell(index).locator(".jp-InputPrompt")

    def run(self, index):
        """Run a cell and wait until it is done and its output is drawn: both come after its number."""
        earlier = self.prompt(index).text_content()
        self.start(index)
        self.wait(index, earlier)
        self.page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(state="attached")
        self.page.wait_for_function(
            "output => !output.querySelector('.jp-RenderedHTMLCommon:empty')",
            arg=self.cell(index).locator(".jp-Cell-outputArea").element_handle(),
        )

    def run_all(self):
        self.menu("Run", "Run All Cells")

    def menu(self, name, item):
        self.page.get_by_role("menuitem", name=name, exact=True).click()
        self.page.get_by_role("menuitem", name=item, exact=True).click()

    def interrupt(self):
        self.page.locator('[data-command="notebook:interrupt-kernel"]').first.click()

    def restart(self):
        """Start the kernel again, and wait for it."""
        self.page.locator('[data-command="notebook:restart-kernel"]').first.click()
        with self.page.expect_response(lambda response: response.url.partition("?")[0].endswith("/restart")):
            self.page.locator(".jp-Dialog .jp-mod-accept").click()
        self.page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(state="attached")

    def save(self):
        self.page.keyboard.press("Control+s")

    def record(self, index):
        """From now on keep each state that a cell's output shows; `recorded` gives them."""
        self.shown(index).locator(".jp-Cell-outputWrapper").evaluate(RECORD)

    def recorded(self, index):
        return self.cell(index).locator(".jp-Cell-outputWrapper").evaluate("element => element.recorded")

    def shut_down(self):
        """Shut the notebook's kernel down, as closing a tab does not."""
        for session in json.load(urllib.request.urlopen(f"{self.server.url}/api/sessions")):
            request = urllib.request.Request(f"{self.server.url}/api/sessions/{session['id']}", method="DELETE")
            urllib.request.urlopen(request).close()
