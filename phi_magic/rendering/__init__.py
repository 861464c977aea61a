"""Turn a model's text into something that a page or a terminal can show safely: it can be read, and nothing in it acts.

An answer is published as Markdown and as plain text, or as HTML where Markdown cannot say it: while it grows, sanitised
HTML, shaded tokens, thoughts that unfold, text that runs from right to left. Which form is shown (looked up in each
front end's source, and in JupyterLab 4.6 and Notebook 7.6 in a browser, where tests/browser/test_hostile_text.py keeps
looking):

===================================================  ====================================================
JupyterLab 4, Notebook 7                             text/html before text/markdown before text/plain
VS Code                                              the same; with a screen reader Markdown comes first
nbconvert to HTML or Markdown                        text/html before text/markdown before text/plain
nbconvert to LaTeX, PDF or RST (through pandoc)      text/markdown
terminals                                            text/plain
===================================================  ====================================================

Colab showed no Markdown outputs for years, and HTML always. What GitHub picks could not be looked up.

A front end protects nobody from a cell that was just run: its HTML is trusted, so pictures load and scripts run. Where
it is not trusted, JupyterLab takes scripts away, but still loads pictures: of HTML, of Markdown, of formulas
(``\\mmlToken{mglyph}[src=…]``) and of mermaid drawings. A ``\\def`` in one formula changes all later ones on the page.
So these functions remove all of that: the result of :func:`to_html` is safe in any page, and that of
:func:`to_markdown` with any parser. Formulas are typeset in HTML outputs, and code has the classes that JupyterLab and
nbconvert colour.

What is left: on pages served by plain HTTP a browser may look up the name of a link's host before it is clicked (the
X-DNS-Prefetch-Control header is there to forbid it; the Chromium that was tried did not), and no element can tell it
not to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .characters import to_text
    from .html import escape, to_html
    from .markdown import to_markdown

__all__ = ["escape", "to_html", "to_markdown", "to_text"]

_HOMES = {"escape": "html", "to_html": "html", "to_markdown": "markdown", "to_text": "characters"}


def __getattr__(name: str) -> Any:
    """Import a renderer when it is first used: loading the extension stays instant."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
