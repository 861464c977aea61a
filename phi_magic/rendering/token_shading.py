"""An answer's tokens, each shaded by its probability: as HTML that needs no script, and as text.

A page's sanitizer may remove styles (GitHub) or ``<style>`` (JupyterLab). So nothing is shown by colour alone: the
probabilities are text, and the alternatives stand in a title and again in a table.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from html import escape
from typing import Protocol

from ..reply import Alternative, Token
from .shades import HUE, SCALES, bits, chance, legend, shades
from .table import Table


class _Cut(Protocol):
    """A token of a text: :class:`phi_magic.generation.backend.TokenText`."""

    @property
    def id(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def data(self) -> bytes: ...


#: How many alternatives ``-f tokens`` asks for, unless told otherwise.
ALTERNATIVES = 5

_PICTURES = {" ": "␣", "\n": "↵", "\t": "⇥"}
_CONTROL = re.compile(r"<\|.+\|>|</?s>|<unk>")
_IN_BRACKETS = re.compile(r"⟨[^⟩]*⟩\n?")
_BYTES = re.compile(r"(\\x[0-9a-f]{2})+")

# Styles stand in the elements: a style block would be text in a page made of Markdown.
_TEXT = "line-height: 2.5; ruby-position: under"
_PIECE = "border-radius: 3px; padding: 2px 1px"
_NUMBER = "font-size: 0.68em; opacity: 0.85"


def shown(text: str) -> str:
    """Return a token's text with invisible characters made visible: ``␣`` for a space, ``↵`` for a newline, numbers for
    others.
    """
    return "".join(_character(at, character) for at, character in enumerate(text))


def _character(at: int, character: str) -> str:
    category = unicodedata.category(character)
    if character in _PICTURES:
        return _PICTURES[character]
    if category[0] in "CZ":
        return f"⟨U+{ord(character):04X}⟩"
    return "◌" + character if category[0] == "M" and not at else character


def kind(text: str) -> str:
    """What a token is other than text: ``control token``, ``bytes of a split character``, or nothing."""
    if _CONTROL.fullmatch(text):
        return "control token"
    return "bytes of a split character" if _BYTES.fullmatch(text) else ""


def percent(probability: float) -> str:
    """Format a probability in percent with two significant digits: 97, 8.3, 0.02, <0.01; 0 only if it is impossible."""
    value = 100 * probability
    if not value:
        return "0"
    if value < 0.01:
        return "<0.01"
    digits = 0 if value >= 9.95 else 1 if value >= 0.995 else 2
    return f"{value:.{digits}f}"


def to_text(tokens: Sequence[Token]) -> str:
    """The tokens with the model's own probability of each in percent: ``Puck⟨41⟩␣glides⟨90⟩``."""
    return "".join(
        f"{shown(token.text)}⟨{percent(chance(token.logprob))}⟩" + "\n" * ("\n" in token.text) for token in tokens
    )


def bare(text: str) -> str:
    """What :func:`to_text` made, without the probabilities."""
    return _IN_BRACKETS.sub("", text)


def to_html(tokens: Sequence[Token], *, whole: bool = True, scale: str = "bits") -> str:
    """The tokens as text shaded by surprise, with a number each, a legend, the alternatives in titles and in a table.

    Args:
        tokens: of a :class:`~phi_magic.reply.Reply`; alternatives are there where ``top_logprobs`` asked for them.
        whole: false while the answer grows: the table is left out.
        scale: one of :data:`phi_magic.rendering.shades.SCALES`.
    """
    text = "".join(map(_token, tokens, shades(tokens, scale)))
    strip = " ".join(
        f'<span style="background-color: {colour}; padding: 0 0.5em">{said}</span>'
        for colour, said in legend(tokens, scale)
    )
    said = (
        "The number below a token is the model's own probability of it in percent. Hover over a token"
        + ", or open the table," * whole
        + " for "
    ) + (
        "what else could have stood there."
        if any(token.top for token in tokens)
        else "its rank. What else could have stood there is kept when asked for: --top-logprobs 5."
    )
    table = _table(tokens) if whole and tokens else ""
    return (
        f'<div class="phi-tokens"><p style="{_TEXT}" dir="auto">{text}</p>'
        f"<p><small>{SCALES[scale]}: {strip} bits. {said}</small></p>{table}</div>"
    )


def bundle(tokens: Sequence[Token], *, whole: bool = True, scale: str = "bits") -> dict[str, str]:
    """The display data of a reply's tokens; ``whole`` and ``scale`` as for :func:`to_html`."""
    return {"text/html": to_html(tokens, whole=whole, scale=scale), "text/plain": to_text(tokens)}


def summary(tokens: Sequence[Token], text: str) -> str:
    """One line on how a text surprised: perplexity, bits for each token and character, and the greatest surprises."""
    each = [bits(token.logprob) for token in tokens]
    total = sum(each)
    perplexity = 2 ** (total / max(1, len(tokens)))
    greatest = sorted(zip(each, tokens, strict=True), key=lambda pair: -pair[0])[:3]
    return " · ".join(
        [
            f"{len(tokens)} token{'s' * (len(tokens) != 1)}",
            f"perplexity {perplexity:,.0f}" if perplexity >= 100 else f"perplexity {perplexity:.3g}",
            f"surprise {total / max(1, len(tokens)):.2f} bits a token, {total / max(1, len(text)):.2f} a character",
            "most at " + ", ".join(f"{shown(token.text)} ({surprise:.1f} bits)" for surprise, token in greatest),
        ]
    )


def cut(tokens: Sequence[_Cut]) -> dict[str, str]:
    """The display data of a text cut into tokens: each with its id below it, and a table with the bytes."""
    pieces = "".join(
        f'<ruby style="{_PIECE}; background-color: rgba({HUE}, {0.12 if at % 2 else 0.3})">'
        f'<bdi>{_named(token.text)}</bdi><rp>⟨</rp><rt style="{_NUMBER}">{token.id}</rt><rp>⟩</rp></ruby>'
        + "<br>"
        * ("\n" in token.text)
        for at, token in enumerate(tokens)
    )
    rows = [[str(token.id), shown(token.text), token.data.hex(" ")] for token in tokens]
    count = f"{len(tokens)} token{'s' * (len(tokens) != 1)}"
    table = Table(["id", "token", "bytes"], rows)
    text = " ".join(f"{shown(token.text)}⟨{token.id}⟩" for token in tokens)
    return {
        "text/html": f'<div class="phi-tokens"><p style="{_TEXT}" dir="auto">{pieces}</p>'
        f"<details><summary>{count} as a table</summary>{table.to_html()}</details></div>",
        "text/plain": f"{text}\n\n{count}",
    }


def describe(token: Token) -> str:
    """Describe a token and its alternatives, in lines."""
    lines = about(token)
    for place, other in enumerate(token.top, 1):
        mark = "▸" if other.id == token.id else " "
        lines.append(f"{mark}{place}. {shown(other.text)}  {numbers(other)}")
    return "\n".join(lines)


def about(token: Token) -> list[str]:
    """Describe a token in lines: its probability; what it is other than text; its rank and surprise."""
    after = _after(token)
    return [
        f"{shown(token.text)}  {percent(chance(token.logprob))} %",
        *filter(None, [kind(token.text)]),
        f"when drawn {after} · " * bool(after) + f"rank {token.rank} · surprise {bits(token.logprob):.2f} bits",
    ]


def numbers(token: Alternative) -> str:
    """The model's own probability of a token, and the one it was drawn with where that is another: ``25 % → 30 %``."""
    own = f"{percent(chance(token.logprob))} %"
    return f"{own} → {after}" if (after := _after(token)) else own


def _after(token: Alternative) -> str:
    """The probability after penalty, temperature and truncation; nothing where it is shown as the model's own is."""
    if math.isnan(token.probability):
        return "not told"
    if not token.probability:
        return "cut"
    return "" if percent(token.probability) == percent(chance(token.logprob)) else f"{percent(token.probability)} %"


def _token(token: Token, colour: str) -> str:
    number = escape(percent(chance(token.logprob)))
    inner = f"<bdi>{_named(token.text)}</bdi>"
    return (
        f'<ruby title="{escape(describe(token))}" style="{_PIECE}; background-color: {colour}">'
        f'{inner}<rp>⟨</rp><rt style="{_NUMBER}">{number}</rt><rp>⟩</rp></ruby>' + "<br>" * ("\n" in token.text)
    )


def _named(text: str) -> str:
    """Return the name of a token on the screen; a token that is not text of the answer is marked."""
    name = _inert(shown(text))
    return f"<i>{name}</i>" if kind(text) else name


def _inert(text: str) -> str:
    # A typesetter of formulas looks for its delimiters within one element: alone in their own they begin nothing.
    return re.sub(r"[$\\]", r"<span>\g<0></span>", escape(text))


def _table(tokens: Sequence[Token]) -> str:
    rows = "".join(
        f'<tr><td align="right">{number}</td><td>{_named(token.text)}</td>'
        f'<td align="right">{escape(percent(chance(token.logprob)))} %</td>'
        f'<td align="right">{escape(_after(token))}</td>'
        f'<td align="right">{token.rank}</td><td align="right">{bits(token.logprob):.2f}</td>'
        f'<td align="left">{" · ".join(map(_alternative, token.top))}</td></tr>'
        for number, token in enumerate(tokens, 1)
    )
    heads = ("", "token", "probability", "when drawn", "rank", "surprise, bits", "likeliest → when drawn")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return (
        f"<details><summary>The {len(tokens)} tokens as a table</summary>"
        f'<div style="overflow-x: auto"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></details>'
    )


def _alternative(other: Alternative) -> str:
    return f"{_named(other.text)} {escape(numbers(other))}"
