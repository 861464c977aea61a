"""Code in colours that follow the reader's theme."""

from __future__ import annotations

import re
from functools import lru_cache

from markdown_it.common.utils import escapeHtml

# The languages that models write, each by the names they give it; the first is Pygments'. Lexers here read text that
# nobody has checked, so each was tried on text made to be slow (0.5 s at worst for the longest block). Those of Java
# and TypeScript were not fast enough; JavaScript's knows their words.
LANGUAGES = {
    name: names.split()[0]
    for names in (
        "python py python3",
        "pycon",
        "bash sh shell zsh",
        "console",
        "json",
        "yaml yml",
        "toml",
        "ini",
        "javascript js typescript ts java",
        "html",
        "css",
        "xml",
        "sql",
        "c",
        "cpp c++",
        "go golang",
        "rust rs",
        "r",
        "julia jl",
        "latex tex",
        "diff",
    )
    for name in names.split()
}
LONGEST = 5000  # characters; lexers take the square of it on hostile text
_LONG_BLANK = re.compile(r"\s{200}")


@lru_cache(maxsize=64)  # while an answer grows, the blocks above its last one are drawn again and again
def highlight(code: str, language: str) -> str:
    """Return ``code`` as escaped HTML with Pygments' short class names, or plainly escaped.

    JupyterLab, Notebook and nbconvert colour those classes by their theme inside an element of class ``highlight``.
    """
    name = LANGUAGES.get(language.lower())
    if name is None or len(code) > LONGEST or _LONG_BLANK.search(code):
        return escapeHtml(code)
    from pygments import highlight as coloured
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    return coloured(code, get_lexer_by_name(name, stripnl=False, ensurenl=False), HtmlFormatter(nowrap=True))
