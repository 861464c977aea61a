"""An answer's Markdown, parsed once for every form in which it is shown."""

from __future__ import annotations

import re
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

from phi_magic.rendering.characters import visible
from phi_magic.rendering.formulas import formula_plugin

# Longer texts are shown as they are, without markup: no answer is that long, and no parser need be trusted with it.
LONGEST = 200_000

_LINK = re.compile(r"(?:https?://|mailto:)[^\s]", re.IGNORECASE)


@cache
def _parser() -> MarkdownIt:
    # CommonMark with GitHub's tables and strikethrough. Raw HTML is off, so that it is read as text; images are off,
    # so that ``![alt](address)`` is read as an exclamation mark and a link, which is what is shown of it.
    md = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("image")
    md.use(formula_plugin)
    # A link elsewhere (javascript:, data:, file:, or a path into the reader's own server) stays the text it is.
    md.validateLink = lambda url: _LINK.match(url) is not None  # type: ignore[method-assign]
    return md


def parse(text: str) -> list[Token]:
    """Return markdown-it's block tokens of ``text``, its acting characters made visible. Never raises.

    Only http, https and mailto links are links. An image is a link whose ``info`` is "image".
    """
    text = visible(text)
    if len(text) > LONGEST:
        return [Token("code_block", "code", 0, content=text)]
    tokens = _parser().parse(text)
    if "![" in text:
        for token in tokens:
            _mark_images(token.children or [])
    return tokens


def _mark_images(children: list[Token]) -> None:
    for before, link in zip(children, children[1:]):
        if link.type == "link_open" and before.type == "text" and before.content.endswith("!"):
            before.content = before.content[:-1]
            link.info = "image"
