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
_BYTES = re.compile(r"(\\x[0-9a-f]{2})+")

# One hue in several depths, half transparent: readable on white and on black, and for colour-blind readers.
_HUE = "213, 94, 0"
_DEEPEST, _DEEPEST_BITS = 0.6, 8.0

STYLE = """
.phi-tokens-text { line-height: 2.5; }
.phi-tokens ruby { ruby-position: under; border-radius: 3px; padding: 2px 1px; margin: 0 1px; position: relative; }
.phi-tokens rt { font-size: 0.68em; line-height: 1; opacity: 0.85; font-variant-numeric: tabular-nums; }
.phi-tokens ruby:focus { outline: 2px solid currentColor; outline-offset: 1px; }
.phi-tokens ruby:focus::after {
  content: attr(title); white-space: pre; position: absolute; left: 0; top: 100%; z-index: 10; padding: 6px 8px;
  font: 12px/1.5 var(--jp-code-font-family, monospace); border: 1px solid currentColor; border-radius: 3px;
  background: var(--jp-layout-color1, Canvas); color: var(--jp-content-font-color1, CanvasText);
}
.phi-tokens-table { overflow-x: auto; }
"""


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


def chance(logprob: float) -> float:
    """The model's own probability."""
    return math.exp(min(logprob, 0.0))


def bits(logprob: float) -> float:
    """Surprise: how many bits the token told that the model did not foresee."""
    return max(0.0, -logprob / math.log(2))


def percent(probability: float) -> str:
    """Format a probability in percent with two significant digits: 97, 8.3, 0.02, <0.01; 0 only if it is impossible."""
    value = 100 * probability
    if not value:
        return "0"
    if value < 0.01:
        return "<0.01"
    digits = 0 if value >= 9.95 else 1 if value >= 0.995 else 2
    return f"{value:.{digits}f}"


def shade(logprob: float) -> str:
    """The background of a token: clear where it was certain, the deeper the more it surprised."""
    return f"rgba({_HUE}, {_DEEPEST * min(1.0, bits(logprob) / _DEEPEST_BITS):.2f})"


def to_text(tokens: Sequence[Token]) -> str:
    """The tokens with the model's own probability of each in percent: ``Puck⟨41⟩␣glides⟨90⟩``."""
    return "".join(
        f"{shown(token.text)}⟨{percent(chance(token.logprob))}⟩" + "\n" * ("\n" in token.text) for token in tokens
    )


def to_html(tokens: Sequence[Token], *, whole: bool = True) -> str:
    """The tokens as text shaded by surprise, with a number each, the alternatives in titles and in a table.

    Args:
        tokens: of a :class:`~phi_magic.reply.Reply`; alternatives are there where ``top_logprobs`` asked for them.
        whole: false while the answer grows: the table is left out.
    """
    text = "".join(map(_token, tokens))
    legend = (
        "The number below a token is the model's own probability of it in percent; the deeper its shade, the more it "
        "surprised. Hover over a token, or move to it with Tab, for "
    ) + (
        "what else could have stood there."
        if any(token.top for token in tokens)
        else "its rank. What else could have stood there is kept when asked for: --top-logprobs 5."
    )
    table = _table(tokens) if whole and tokens else ""
    return (
        f'<div class="phi-tokens"><style>{STYLE}</style>'
        f'<p class="phi-tokens-text" dir="auto">{text}</p><p><small>{legend}</small></p>{table}</div>'
    )


def bundle(tokens: Sequence[Token], *, whole: bool = True) -> dict[str, str]:
    """The display data of a reply's tokens; ``whole`` as for :func:`to_html`."""
    return {"text/html": to_html(tokens, whole=whole), "text/plain": to_text(tokens)}


def summary(tokens: Sequence[Token], text: str) -> str:
    """One line on how a text surprised: perplexity, bits for each token and character, and the greatest surprises."""
    each = [bits(token.logprob) for token in tokens]
    total = sum(each)
    greatest = sorted(zip(each, tokens, strict=True), key=lambda pair: -pair[0])[:3]
    return " · ".join(
        [
            f"{len(tokens)} token{'s' * (len(tokens) != 1)}",
            f"perplexity {2 ** (total / max(1, len(tokens))):.3g}",
            f"surprise {total / max(1, len(tokens)):.2f} bits a token, {total / max(1, len(text)):.2f} a character",
            "most at " + ", ".join(f"{shown(token.text)} ({surprise:.1f} bits)" for surprise, token in greatest),
        ]
    )


def cut(tokens: Sequence[_Cut]) -> dict[str, str]:
    """The display data of a text cut into tokens: each with its id below it, and a table with the bytes."""
    pieces = "".join(
        f'<ruby style="background-color: rgba({_HUE}, {0.12 if at % 2 else 0.3})">'
        f"<bdi>{_named(token.text)}</bdi><rp>⟨</rp><rt>{token.id}</rt><rp>⟩</rp></ruby>" + "<br>" * ("\n" in token.text)
        for at, token in enumerate(tokens)
    )
    rows = [[str(token.id), shown(token.text), token.data.hex(" ")] for token in tokens]
    count = f"{len(tokens)} token{'s' * (len(tokens) != 1)}"
    table = Table(["id", "token", "bytes"], rows)
    text = " ".join(f"{shown(token.text)}⟨{token.id}⟩" for token in tokens)
    return {
        "text/html": f'<div class="phi-tokens"><style>{STYLE}</style><p class="phi-tokens-text" dir="auto">{pieces}</p>'
        f"<details><summary>{count} as a table</summary>{table.to_html()}</details></div>",
        "text/plain": f"{text}\n\n{count}",
    }


def describe(token: Token) -> str:
    """Describe a token and its alternatives, in lines."""
    what = kind(token.text)
    lines = [
        f"{shown(token.text)}  {percent(chance(token.logprob))} %"
        + (f" ({what})" if what else "")
        + f"\n{when_drawn(token)}rank {token.rank} · surprise {bits(token.logprob):.2f} bits"
    ]
    for place, other in enumerate(token.top, 1):
        mark = "▸" if other.id == token.id else " "
        lines.append(f"{mark}{place}. {shown(other.text)}  {numbers(other)}")
    return "\n".join(lines)


def when_drawn(token: Alternative) -> str:
    """Begin a line with the probability that a token was drawn with, where it is not the model's own."""
    return f"when drawn {after} · " if (after := _after(token)) else ""


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


def _token(token: Token) -> str:
    number = escape(percent(chance(token.logprob)))
    inner = f"<bdi>{_named(token.text)}</bdi>"
    return (
        f'<ruby tabindex="0" title="{escape(describe(token))}" style="background-color: {shade(token.logprob)}">'
        f"{inner}<rp>⟨</rp><rt>{number}</rt><rp>⟩</rp></ruby>" + "<br>" * ("\n" in token.text)
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
        f'<div class="phi-tokens-table"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></details>'
    )


def _alternative(other: Alternative) -> str:
    return f"{_named(other.text)} {escape(numbers(other))}"
