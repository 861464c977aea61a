"""Take the pictures of the panel, the explorer and the token view, in the light and the dark theme.

python tools/sampling_screenshots.py [--notebook] [FOLDER]
    writes {panel,explorer,compare,tokens}-{light,dark}.png into docs/images, from JupyterLab; --notebook: from Notebook 7
"""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path

import nbformat
from playwright.sync_api import Browser

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

# tests/ is found once the project's root is on the path
from tests.browser.frontends import JupyterServer, NotebookPage, in_chromium  # noqa: E402
from tests.notebooks import notebook_of  # noqa: E402

IMAGES = PROJECT / "docs" / "images"
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
HAIKU = "Write a haiku about ice hockey"
SETUP = "%load_ext phi_magic\n%config Phi.model = 'demo'"


def main() -> None:
    folders = [word for word in sys.argv[1:] if word != "--notebook"]
    images = Path(*folders[:1]) if folders else IMAGES
    images.mkdir(parents=True, exist_ok=True)
    with in_chromium("notebook" if "--notebook" in sys.argv[1:] else "lab") as (browser, server):
        for theme, title in THEMES.items():
            _choose(server, title)
            for name, picture in (
                ("panel", _panel),
                ("explorer", _explorer),
                ("compare", _compare),
                ("tokens", _tokens),
            ):
                path = images / f"{name}-{theme}.png"
                picture(browser, server, path)
                print(path)


def _choose(server: JupyterServer, theme: str) -> None:
    request = urllib.request.Request(  # noqa: S310  the server is our own, on the loopback
        f"{server.url}/lab/api/settings/@jupyterlab/apputils-extension:themes",
        data=json.dumps({"raw": json.dumps({"theme": theme})}).encode(),
        method="PUT",
    )
    urllib.request.urlopen(request).close()  # noqa: S310


def _open(browser: Browser, server: JupyterServer, *cells: str) -> NotebookPage:
    nbformat.write(notebook_of(SETUP, *cells), server.root / "pictures.ipynb")
    notebook = NotebookPage(browser.new_page(viewport={"width": 1000, "height": 900}), server)
    notebook.open("pictures.ipynb")
    if server.application == "lab":
        notebook.page.keyboard.press("Control+b")  # hides the list of files
    for at in range(len(cells) + 1):
        notebook.run(at)
    return notebook


def _take(notebook: NotebookPage, cell: int, path: Path) -> None:
    notebook.page.wait_for_timeout(500)  # what fades in has faded in
    box = notebook.output(cell).bounding_box()
    box["height"] += 140 * (path.stem.startswith("tokens"))  # an open menu hangs over the output's end
    notebook.page.screenshot(path=path, clip=box)
    notebook.shut_down()
    notebook.page.context.close()


def _panel(browser: Browser, server: JupyterServer, path: Path) -> None:
    notebook = _open(browser, server, f"%config Phi.seed = 7\n%phi_panel {HAIKU}")
    notebook.output(1).get_by_role("button", name="Generate").click()
    notebook.output(1).get_by_role("status").filter(has_text="seed 7").wait_for()
    _take(notebook, 1, path)


def _explorer(browser: Browser, server: JupyterServer, path: Path) -> None:
    notebook = _open(browser, server, f"%phi_explore -t 1.5 --top-p 0.9 {HAIKU}")
    likeliest = notebook.output(1).get_by_role("button", name="Likeliest")
    for count in range(1, 4):
        likeliest.click()
        notebook.page.wait_for_function("n => document.querySelectorAll('.phi-path button').length === n", arg=count)
    _take(notebook, 1, path)


def _compare(browser: Browser, server: JupyterServer, path: Path) -> None:
    line = f'%phi_explore --compare "-t 1.5 --top-p 1" "-t 1.5 --top-p 0.9" --seed 4 {HAIKU}'
    notebook = _open(browser, server, line)
    notebook.page.set_viewport_size({"width": 1400, "height": 1250})
    _take(notebook, 1, path)


def _tokens(browser: Browser, server: JupyterServer, path: Path) -> None:
    notebook = _open(browser, server, f"%%phi -f tokens --seed 7\n{HAIKU}")
    notebook.output(1).locator(".phi-branch-text button").nth(2).focus()
    _take(notebook, 1, path)


if __name__ == "__main__":
    main()
