"""Code in colours that follow the reader's theme."""

from __future__ import annotations

from functools import lru_cache

from markdown_it.common.utils import escapeHtml

# The languages that models write, by every name they give them. Others are shown plain: each lexer runs on text that
# nobody has checked, so each one here has been tried on text made to be slow.
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
        "javascript js",
        "typescript ts",
        "html",
        "css",
        "xml",
        "sql",
        "c",
        "cpp c++",
        "java",
        "go golang",
        "rust rs",
        "r",
        "julia jl",
        "latex tex",
        "diff",
    )
    for name in names.split()
}
_LONGEST = 20_000


@lru_cache(maxsize=64)  # while an answer grows, the blocks above its last one are drawn again and again
def highlight(code: str, language: str) -> str:
    """Return ``code`` as escaped HTML with Pygments' short class names, or plainly escaped.

    JupyterLab, Notebook and nbconvert colour those classes inside an element of class ``highlight`` by their theme.
    """
    name = LANGUAGES.get(language.lower())
    if name is None or len(code) > _LONGEST:
        return escapeHtml(code)
    from pygments import highlight as pygments_highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    lexer = get_lexer_by_name(name, stripnl=False, ensurenl=False)
    return pygments_highlight(code, lexer, HtmlFormatter(nowrap=True))
