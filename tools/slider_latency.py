"""Measure how long the explorer takes to follow a slider: in the kernel, and on JupyterLab's page in Chromium.

python tools/slider_latency.py             prints the medians for the shipped model and for a vocabulary of Phi-3's size
python tools/slider_latency.py --write     writes them into docs/performance.md too
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
from tests.browser.frontends import NotebookPage, in_chromium  # noqa: E402
from tests.notebooks import notebook_of  # noqa: E402

PAGE = PROJECT / "docs" / "performance.md"
BEGIN, END = "<!-- sliders: made by tools/slider_latency.py -->", "<!-- sliders: end -->"
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
explorer.columns[0].walk._positions[()] = Position((), logits, names, frozenset({32_000}))
explorer.redraw()
"""
REDRAWS = f"""\
took = []
for step in range({MOVES}):
    explorer.columns[0].sliders.move("temperature", 0.5 + step / 50)
    took.append(1000 * explorer.redraw_seconds)
print(took)
"""
# From the move of a slider to the frame after the bars have changed, in milliseconds.
FOLLOW = """async ([explorer, moves]) => {
    const slider = explorer.querySelector(".phi-slider input[type=range]");
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
        slider.value = Number(slider.value) + (move % 20 < 10 ? 1 : -1) * slider.step;
        slider.dispatchEvent(new Event("input", { bubbles: true }));
        await drawn;
        took.push(performance.now() - begun);
        await new Promise((done) => setTimeout(done, 100));
    }
    return took;
}"""


def main() -> None:
    rows = []
    with in_chromium() as (browser, server):
        nbformat.write(notebook_of(SHOW, REDRAWS, LARGE, REDRAWS), server.root / "sliders.ipynb")
        notebook = NotebookPage(browser.new_page(viewport={"width": 1000, "height": 900}), server)
        notebook.open("sliders.ipynb")
        notebook.run(0)
        explorer = notebook.output(0)
        explorer.locator(".phi-stages tbody button").first.wait_for()
        for what, prepare, redraws in (("the shipped model", None, 1), ("a vocabulary of Phi-3's size", 2, 3)):
            if prepare:
                notebook.run(prepare)
            notebook.run(redraws)
            in_kernel = json.loads(notebook.text(redraws))
            notebook.shown(0)
            on_page = notebook.page.evaluate(FOLLOW, [explorer.element_handle(), MOVES])
            rows.append(f"| {what}: median, 95 % within | {_figures(in_kernel)} | {_figures(on_page)} |")
        notebook.shut_down()
    table = "\n".join(["| | in the kernel | on the page |", "| --- | ---: | ---: |", *rows])
    print(table)
    if "--write" in sys.argv[1:]:
        page = PAGE.read_text(encoding="utf-8")
        before, after = page.partition(BEGIN)[0], page.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")


def _figures(milliseconds: list[float]) -> str:
    return f"{statistics.median(milliseconds):.1f} ms, {statistics.quantiles(milliseconds, n=20)[-1]:.1f} ms"


if __name__ == "__main__":
    main()
