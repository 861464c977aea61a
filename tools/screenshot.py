"""Take the README's picture: the quickstart in JupyterLab, run in Chromium up to its first haiku.

python tools/screenshot.py     writes docs/images/quickstart.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbconvert.preprocessors import ClearOutputPreprocessor

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

# tests/ is found once the project's root is on the path
from tests.browser.frontends import NotebookPage, lab_in_chromium  # noqa: E402

PICTURE = PROJECT / "docs" / "images" / "quickstart.png"
CELLS = 4  # From the top: title, load, ask, a haiku.


def main() -> None:
    with lab_in_chromium() as (browser, server):
        quickstart = nbformat.read(PROJECT / "examples" / "quickstart.ipynb", as_version=4)
        quickstart.cells = quickstart.cells[:CELLS]
        nbformat.write(ClearOutputPreprocessor().preprocess(quickstart, {})[0], server.root / "quickstart.ipynb")
        notebook = NotebookPage(browser.new_page(viewport={"width": 920, "height": 640}), server)
        notebook.open("quickstart.ipynb")
        notebook.page.keyboard.press("Control+b")  # Hides the list of files.
        for index, cell in enumerate(quickstart.cells):
            if cell.cell_type == "code":
                notebook.run(index)
        notebook.cell(0).scroll_into_view_if_needed()
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        notebook.page.screenshot(path=PICTURE)
    print(PICTURE.relative_to(PROJECT))


if __name__ == "__main__":
    main()
