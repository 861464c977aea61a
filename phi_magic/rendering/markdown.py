r"""Write an answer as Markdown that every parser reads in the same way. Parsers disagree about hard cases, and a parser
that took code for text would run the tags in it. So the source is never copied: it is parsed once and written again, in
forms that all parsers agree on. All text is escaped; there is no raw HTML, no image and no link definition; code blocks
stand at the left margin between blank lines. A backslash is never text, always code, so that neither LaTeX (pandoc
obeys ``\input`` in Markdown) nor a typesetter finds a command.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from urllib.parse import quote

from markdown_it.token import Token

from .characters import to_text as visible
from .document import parse
from .fences import fence
from .highlight import LANGUAGES

# Marks that some parser would take notice of even behind a backslash are written as entities.
_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
    | {mark: f"&#{ord(mark)};" for mark in "`[]@"}
    | {mark: "\\" + mark for mark in "*_{}|~$^#"}
)
# What begins a block when it begins a line, and is not escaped everywhere.
_BLOCK_START = re.compile(r"^(\d{0,9})([-+=:%.)])")
# A bare address would become a link, and in nbconvert's parser swallow the code span that follows it; an exclamation
# mark would make a link that follows it an image.
_JOINING = re.compile(r":(?=//)|(?<=www)\.|!\Z", re.IGNORECASE)
_COMMANDS = re.compile(r"((?:\\(?:[A-Za-z]+|[^\sA-Za-z`|])?)+)")
# A struck-out passage ends for marked (JupyterLab) at the first tildes, even inside a code span: it is left a text.
_MARKS = {"em": "*", "strong": "**", "s": r"\~\~"}


def to_markdown(text: str) -> str:
    """Return an answer's Markdown as Markdown in which no tag, image or script is left, with any parser.

    Line breaks become hard ones, formulas ``$…$`` and ``$$…$$``. Any text is taken; nothing is raised.
    """
    return _HtmlWriter(parse(text)).written()


def to_cell(text: str) -> str:
    """Return a text for a cell of a Markdown table, or a line: nothing in it is markup, and its lines stay lines."""
    lines = (" ".join(line.split()) for line in visible(text).split("\n"))  # Markdown joins blanks; a million take long
    return "<br>".join("".join(f"`{piece}`" if code else piece for code, piece in _text(line)) for line in lines)


@dataclass
class _Container:
    """A list item or a quotation around what is written: what precedes its first line, and its others."""

    first: str
    rest: str
    begun: bool = False


class _HtmlWriter:
    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.lines: list[str] = []
        self.containers: list[_Container] = []
        self.numbers: list[int | None] = []  # of the next item of each list around; None for bullets
        self.gap = False  # whether a blank line must come first
        spans = [child.content for token in tokens for child in token.children or () if child.type == "code_inline"]
        # All code spans of an answer are fenced alike, so that none can end another.
        self.fence = "``" if any("`" in span for span in spans) else "`"
        # JupyterLab finds environments in code spans too, and would join one there with one in a formula.
        self.formulas = not any("\\begin" in span for span in spans)

    def written(self) -> str:
        for at, token in enumerate(self.tokens):
            self._block(at, token)
        return "".join(line + "\n" for line in self.lines)

    def _block(self, at: int, token: Token) -> None:
        match token.type:
            case "paragraph_open":
                lines = [line.strip() for line in self._inline(self.tokens[at + 1]).split("\n")]
                self._write([_BLOCK_START.sub(r"\1\\\2", line) for line in lines], "  ", tight=token.hidden)
            case "heading_open":
                self._write([f"{'#' * int(token.tag[1])} {self._inline(self.tokens[at + 1], ' ')}"])
            case "fence" | "code_block":
                self._code_block(token)
            case "formula_block":
                self._write([self._formula(token)])
            case "hr":
                self._write(["***"])
            case "table_open":
                self._write(list(self._table(at)))
            case "blockquote_open":
                self.containers.append(_Container("> ", "> "))
            case "bullet_list_open":
                self.numbers.append(None)
                self.gap |= len(self.numbers) == 1
            case "ordered_list_open":
                self.numbers.append(int(token.attrs.get("start", 1)))
                self.gap |= len(self.numbers) == 1
            case "list_item_open":
                number = self.numbers[-1]
                marker = "- " if number is None else f"{number}. "
                self.numbers[-1] = None if number is None else number + 1
                self.containers.append(_Container(marker, " " * len(marker)))
            case "list_item_close" | "blockquote_close":
                self._begin()
                self.containers.pop()
                self.gap |= token.type == "blockquote_close"
            case "bullet_list_close" | "ordered_list_close":
                self.numbers.pop()
                self.gap = True

    def _write(self, lines: list[str], end: str = "", tight: bool = False) -> None:
        """Write a block inside the containers around; ``end`` joins its lines by hard breaks."""
        if self.lines and (self.gap or not tight):
            self.lines.append("".join(c.rest for c in self.containers if c.begun).rstrip())
        self.gap = False
        for at, line in enumerate(lines):
            before = "".join(c.rest if c.begun else c.first for c in self.containers)
            for container in self.containers:
                container.begun = True
            self.lines.append((before + line + end * (at + 1 < len(lines))) if line else before.rstrip())

    def _begin(self) -> None:
        """Write the markers of containers that are still empty."""
        if not all(container.begun for container in self.containers):
            self._write([""], tight=True)

    def _code_block(self, token: Token) -> None:
        """Write code at the left margin: in a list, parsers disagree about where it ends. The list goes on below."""
        self._begin()
        for container in self.containers:
            container.rest = "> " * (container.first == "> ")
        code = token.content if token.content.endswith("\n") else token.content + "\n"
        around = fence(code)
        # Any other name may be a program's: JupyterLab draws what is called mermaid, pandoc obeys {=latex}.
        language = token.info.partition(" ")[0].lower()
        self.lines += [*[""] * bool(self.lines), around + language * (language in LANGUAGES), code + around]
        self.gap = True

    def _table(self, at: int) -> Iterator[str]:
        cells: list[str] = []
        aligns: list[str] = []
        for token in self.tokens[at + 1 :]:
            match token.type:
                case "inline":
                    cells.append(self._inline(token, " ", in_table=True))
                case "th_open":
                    side = str(token.attrs.get("style", "")).removeprefix("text-align:")
                    aligns.append({"left": ":--", "right": "--:", "center": ":-:"}.get(side, "---"))
                case "tr_close":
                    yield f"| {' | '.join(cells)} |"
                    cells = []
                case "thead_close":
                    yield f"| {' | '.join(aligns)} |"
                case "table_close":
                    return

    def _inline(self, token: Token, line_break: str = "\n", in_table: bool = False) -> str:
        written = [""]
        # Neighbouring code becomes one span: two would run into each other.
        for is_code, run in groupby(self._pieces(token.children or [], line_break, in_table), lambda piece: piece[0]):
            texts = [text for _, text in run if text]
            for text in [self._span("".join(texts))] if is_code else texts:
                # JupyterLab takes a dollar sign for a part of the code span or the formula that follows it.
                if text.startswith(("$", "`")) and written[-1].endswith("$") and not written[-1].endswith(r"\$"):
                    written.append(" ")
                written.append(text)
        return "".join(written)

    def _pieces(self, children: Sequence[Token], line_break: str, in_table: bool) -> Iterator[tuple[bool, str]]:
        """Yield pairs: code or not, and the text, escaped if it is not code."""
        for child in children:
            match child.type:
                case "text":
                    yield from _text(child.content)
                case "code_inline" if "``" in child.content or (in_table and "|" in child.content):
                    yield from _text(child.content)
                case "code_inline":
                    yield True, child.content
                case "softbreak" | "hardbreak":
                    yield False, line_break
                case "formula":
                    tex = self._formula(child)
                    if in_table:
                        tex = re.sub(r"(\\\|)|(\\.)|\|", _bar, tex)
                    yield not self.formulas, tex
                case "link_open":
                    yield False, "[" if child.attrs["href"] else ""
                    address = _address(str(child.attrs["href"]))
                case "link_close":
                    yield False, f"]({address})" if address else ""
                case _:
                    yield False, _MARKS[child.tag]

    def _span(self, code: str) -> str:
        pad = " " * (code.startswith(("`", " ")) or code.endswith(("`", " ")))
        return f"{self.fence}{pad}{code}{pad}{self.fence}"

    def _formula(self, token: Token) -> str:
        # A blank changes no formula, and with it nothing in there looks like a tag or a link, where formulas are unknown.
        tex = re.sub(r"<(?=[A-Za-z/!?])|!(?=\[)|\](?=[(\[:{])|:(?=//)", r"\g<0> ", " ".join(token.content.split()))
        tex = tex.replace("~", "\\ ")
        return f"${tex}$" if token.info == "inline" else f"$${tex}$$"


def _text(content: str) -> Iterator[tuple[bool, str]]:
    for at, piece in enumerate(_COMMANDS.split(content)):
        if piece:
            yield at % 2 == 1, piece if at % 2 else _escape(piece)


def _escape(text: str) -> str:
    return _JOINING.sub(lambda match: f"&#{ord(match[0])};", text.translate(_ESCAPES))


def _bar(match: re.Match[str]) -> str:
    return "\\Vert " if match[1] else match[2] or "\\vert "


def _address(address: str) -> str:
    return quote(address, safe="-._~:/?#@!,;=%+&").replace("&", "&amp;")
