"""Measure how long the explorer takes to follow a slider: in the kernel, and on JupyterLab's page in Chromium.

python tools/slider_latency.py     prints the medians for the shipped model and for a vocabulary of Phi-3's size
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import nbformat

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

# tests/ is found once the project's root is on the path
from tests.browser.frontends import NotebookPage, lab_in_chromium  # noqa: E402
from tests.notebooks import notebook_of  # noqa: E402

MOVES = 40
SHOW = """\
from phi_magic import Phi
from phi_magic.widgets.explorer import Explorer
explorer = Explorer(Phi(model="demo"), "Write a haiku about ice hockey")
explorer.show()
"""
# Scores as a model has them, for as many tokens as Phi-3 knows.
LARGE = """\
import numpy as np
from phi_magic.position import Position
names = [f" token{number}" for number in range(32_064)]
logits = np.random.default_rng(0).normal(0, 3, len(names)).astype(np.float32)
explorer._positions[()] = Position((), logits, names, frozenset({32_000}))
explorer.redraw()
"""
REDRAWS = f"""\
took = []
for step in range({MOVES}):
    explorer.sliders["temperature"].value = 0.5 + step / 50
    took.append(1000 * explorer.redraw_seconds)
print(took)
"""
# From the key that moves a slider to the frame after the bars have changed, in milliseconds.
FOLLOW = """async ([explorer, moves]) => {
    const handle = explorer.querySelector(".noUi-handle");
    const bars = explorer.querySelector(".phi-stages tbody");
    const took = [];
    for (let move = 0; move < moves; move++) {
        const drawn = new Promise((done) => {
            const observer = new MutationObserver(() => {
                observer.disconnect();
                requestAnimationFrame(() => setTimeout(done));
            });
            observer.observe(bars, { attributes: true, childList: true, characterData: true, subtree: true });
        });
        const begun = performance.now();
        handle.dispatchEvent(new KeyboardEvent("keydown", { key: move % 20 < 10 ? "Right" : "Left", bubbles: true }));
        await drawn;
        took.push(performance.now() - begun);
        await new Promise((done) => setTimeout(done, 100));
    }
    return took;
}"""


def main() -> None:
    with lab_in_chromium() as (browser, server):
        nbformat.write(notebook_of(SHOW, REDRAWS, LARGE, REDRAWS), server.root / "sliders.ipynb")
        notebook = NotebookPage(browser.new_page(viewport={"width": 1000, "height": 900}), server)
        notebook.open("sliders.ipynb")
        notebook.run(0)
        explorer = notebook.output(0)
        explorer.locator(".phi-stages tbody button").first.wait_for()
        for what, prepare, redraws in (("shipped model", None, 1), ("32,064 tokens", 2, 3)):
            if prepare:
                notebook.run(prepare)
            notebook.run(redraws)
            _tell(f"{what}, in the kernel", json.loads(notebook.text(redraws)))
            notebook.shown(0)
            took = notebook.page.evaluate(FOLLOW, [explorer.element_handle(), MOVES])
            _tell(f"{what}, on the page", took)
        notebook.shut_down()


def _tell(what: str, milliseconds: list[float]) -> None:
    most = statistics.quantiles(milliseconds, n=20)[-1]
    print(f"{what:<30} median {statistics.median(milliseconds):6.1f} ms, 95 % within {most:6.1f} ms")


if __name__ == "__main__":
    main()
