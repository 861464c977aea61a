"""An answer as HTML that is safe in every page, sanitised or not."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from .characters import to_text
from .document import parse
from .highlight import LONGEST, highlight

# What is read as one unit gets its own direction, so that an Arabic paragraph does not turn an English one.
_DIRECTED = frozenset(
    ["paragraph_open", "heading_open", "bullet_list_open", "ordered_list_open", "blockquote_open", "table_open"]
)

_NAME = re.compile(r"[\w+#.-]{1,30}", re.ASCII)


def to_html(text: str) -> str:
    r"""Return an answer's Markdown as HTML: one ``div`` of class ``phi-answer``.

    Nothing in it runs, loads or acts: markup in ``text`` is shown as text, an image is a link, links lead to http,
    https and mailto only. Formulas stand as ``\(…\)`` and ``\[…\]`` for the page's typesetter, and no other text of
    the answer can be taken for one. Any text is rendered; nothing is raised.
    """
    tokens = parse(text)
    for token in tokens:
        if token.type in _DIRECTED:
            token.attrs["dir"] = "auto"
        elif token.type in ("th_open", "td_open"):
            token.attrs.setdefault("style", "text-align:left")  # JupyterLab would put text to the right, as numbers
    return f'<div class="phi-answer">\n{_RENDERER.render(tokens, _OPTIONS, {})}</div>'


def escape(text: str) -> str:
    """Return ``text`` as HTML that shows it to the letter: nothing in it is markup, or a formula to a typesetter.

    For any element but ``pre`` and ``code``, where no typesetter looks and ``html.escape`` will do.
    """
    # A typesetter looks for its delimiters within one element. Alone in their own, ``$`` and ``\\`` begin nothing.
    escaped = escapeHtml(to_text(text))
    if "\\" in escaped or "$" in escaped:
        escaped = escaped.replace("\\", "<span>\\</span>").replace("$", "<span>$</span>")
    return escaped


class _Renderer(RendererHTML):
    """markdown-it's own renderer, with what a notebook needs otherwise. Rules are found by the token's name."""

    def text(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return escape(tokens[idx].content)

    def softbreak(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        # A model means the lines that it writes: verse, addresses, steps.
        return "<br>\n"

    def hardbreak(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return "<br>\n"

    def link_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        address = str(tokens[idx].attrs["href"])
        if not address:  # ``[text]()`` would lead to the notebook itself
            return "<a>"
        return f'<a href="{escapeHtml(address)}" rel="noopener noreferrer" target="_blank">'

    def code_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return f'<pre dir="ltr" style="margin-bottom:1em"><code>{escapeHtml(tokens[idx].content)}</code></pre>\n'

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        language = tokens[idx].info.partition(" ")[0]
        name = f' class="language-{language}"' if _NAME.fullmatch(language) else ""
        code = tokens[idx].content
        env["code"] = env.get("code", 0) + len(code)
        code = highlight(code, language) if env["code"] <= 4 * LONGEST else escapeHtml(code)
        return (
            f'<div class="highlight" style="margin-bottom:1em"><pre dir="ltr"><code{name}>{code}</code></pre></div>\n'
        )

    def formula(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        left, right = ("\\(", "\\)") if tokens[idx].info == "inline" else ("\\[", "\\]")
        return f'<span class="phi-formula">{left}{escapeHtml(tokens[idx].content)}{right}</span>'

    def formula_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return f'<div class="phi-formula">\\[{escapeHtml(tokens[idx].content)}\\]</div>\n'


_RENDERER = _Renderer()
_OPTIONS = OptionsDict(
    {
        "maxNesting": 20,
        "html": False,
        "linkify": False,
        "typographer": False,
        "quotes": "",
        "xhtmlOut": False,
        "breaks": True,
        "langPrefix": "language-",
        "highlight": None,
    }
)
