"""An answer's Markdown, parsed in one way for every form in which it is shown."""

from __future__ import annotations

import re
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

from .characters import to_text
from .formulas import formula_plugin

# Longer texts are shown as they are, without markup: no answer is that long, and no parser need be trusted with it.
LONGEST = 100_000

_ADDRESS = re.compile(r"https?://\S|mailto:\S", re.IGNORECASE)


def parse(text: str) -> list[Token]:
    """Return markdown-it's block tokens of ``text``: CommonMark, GitHub's tables and strikethrough, formulas.

    Raw HTML is text. Links lead to http, https and mailto; others (``javascript:``, ``data:``, ``file:``, a path on
    the reader's own server) stay the text they are. An image is a link whose text says so. Characters that would act
    are made visible. Never raises.
    """
    text = to_text(text)
    if len(text) > LONGEST:
        return [Token("code_block", "code", 0, content=text)]
    tokens = _parser().parse(text)
    for token in tokens:
        if token.children:
            token.children = _mended(token.children)
    return tokens


class _Parser(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802, the parser calls it so
        return _ADDRESS.match(url) is not None


@cache
def _parser() -> MarkdownIt:
    # Without the rule for images, ``![alt](address)`` is an exclamation mark and a link.
    md = _Parser("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("image")
    return md.use(formula_plugin)


def _mended(children: list[Token]) -> list[Token]:
    """Return inline tokens with what the parser could not know.

    An image is named; a link without a text shows its address; an address inside a link's text is no separate link.
    """
    mended: list[Token] = []
    depth = 0
    for at, child in enumerate(children):
        if child.type == "text":
            # Entities and percent signs spell characters that the source did not hold.
            child.content = to_text(child.content).replace("\n", " ")
        depth += child.nesting * (child.tag == "a")
        if child.tag == "a" and depth + (child.type == "link_close") > 1:
            continue
        mended.append(child)
        if child.type == "link_open":
            before = mended[-2] if len(mended) > 1 else child
            label = ""
            if before.type == "text" and before.content.endswith("!"):
                before.content = before.content[:-1]
                label = "image: "
            if children[at + 1].type == "link_close":
                label += str(child.attrs["href"])
            if label:
                mended.append(Token("text", "", 0, content=label))
    return mended
