"""Make the README's animated picture: a session in JupyterLab, from a question to the tokens of its answer.

python tools/readme_picture.py     writes docs/images/session.webp; needs Chromium and the extra `pictures`
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import nbformat
from PIL import Image
from playwright.sync_api import Page

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

# tests/ is found once the project's root is on the path
from tests.browser.frontends import NotebookPage, in_chromium  # noqa: E402
from tests.notebooks import notebook_of  # noqa: E402

PICTURE = PROJECT / "docs" / "images" / "session.webp"
SIZE = {"width": 900, "height": 600}
LARGEST = 2_000_000  # bytes
HAIKU = "Write a haiku about ice hockey"
CELLS = (
    "%load_ext phi_magic\n%config Phi.model = 'demo'",
    f"%%phi --seed 7\n{HAIKU}",
    f"%phi_explore -t 0.3 {HAIKU}",
    f"%%phi -f tokens --seed 7\n{HAIKU}",
)
MOVES = 24  # steps of the temperature's slider


class Film:
    """Pictures of a page, each with the milliseconds that it is shown."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._frames: list[Image.Image] = []
        self._durations: list[int] = []

    def take(self, milliseconds: int) -> None:
        """Add the page as it is now."""
        self._frames.append(Image.open(io.BytesIO(self._page.screenshot())).convert("RGB"))
        self._durations.append(milliseconds)

    def save(self, path: Path) -> None:
        """Write an endless animation."""
        first, *others = self._frames
        first.save(path, save_all=True, append_images=others, duration=self._durations, loop=0, quality=60, method=6)


def main() -> None:
    with in_chromium() as (browser, server):
        nbformat.write(notebook_of(*CELLS), server.root / "session.ipynb")
        notebook = NotebookPage(browser.new_page(viewport=SIZE), server)
        notebook.open("session.ipynb")
        notebook.page.keyboard.press("Control+b")  # hides the list of files
        notebook.run(0)
        film = Film(notebook.page)
        _ask(notebook, film)
        _move_a_slider(notebook, film)
        _look_at_tokens(notebook, film)
        film.save(PICTURE)
        notebook.shut_down()
    if PICTURE.stat().st_size > LARGEST:
        sys.exit(f"error: {PICTURE.name} has {PICTURE.stat().st_size:,} bytes, more than {LARGEST:,}")
    print(PICTURE.relative_to(PROJECT), f"{PICTURE.stat().st_size:,} bytes")


def _ask(notebook: NotebookPage, film: Film) -> None:
    film.take(1200)
    notebook.start(1)
    for _ in range(4):
        film.take(80)
    notebook.wait(1)
    film.take(2500)


def _move_a_slider(notebook: NotebookPage, film: Film) -> None:
    notebook.run(2)
    output = notebook.output(2)
    output.scroll_into_view_if_needed()
    film.take(1500)
    slider = output.locator("input[type=range][aria-label=temperature]")
    slider.focus()
    for key in ["ArrowRight"] * MOVES:
        slider.press(key)
        notebook.page.wait_for_timeout(40)  # the bars follow in less
        film.take(90)
    film.take(2500)


def _look_at_tokens(notebook: NotebookPage, film: Film) -> None:
    notebook.run(3)
    notebook.cell(3).scroll_into_view_if_needed()
    film.take(1500)
    for at in (2, 5, 8):
        notebook.output(3).locator(".phi-branch-text button").nth(at).focus()
        notebook.page.wait_for_timeout(300)  # what fades in has faded in
        film.take(1500)
    film.take(1500)


if __name__ == "__main__":
    main()
