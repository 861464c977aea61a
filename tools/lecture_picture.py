"""Run the cells of docs/lecture.md up to its plot, and keep that as docs/images/lecture.png.

python tools/lecture_picture.py
"""

from __future__ import annotations

import os
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell
from markdown_it import MarkdownIt

DOCS = Path(__file__).resolve().parent.parent / "docs"


def main() -> None:
    os.environ["MPLBACKEND"] = "agg"
    shell = InteractiveShell.instance()
    for block in MarkdownIt().parse((DOCS / "lecture.md").read_text(encoding="utf-8")):
        if block.type == "fence" and block.info in ("python", "ipython"):
            shell.run_cell(block.content).raise_error()
        if "figure" in shell.user_ns:
            break
    shell.user_ns["figure"].savefig(DOCS / "images" / "lecture.png", dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    main()
