"""What a model says is shown, and does nothing: not in a page, not in another parser's page, not in a terminal."""

import re
import unicodedata
from html import unescape
from html.parser import HTMLParser

import mistune
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from nbconvert.filters.markdown_mistune import markdown2html_mistune

from phi_magic.rendering import escape, to_html, to_markdown, to_text
from phi_magic.rendering.document import LONGEST
from phi_magic.rendering.formulas import COMMANDS, formula
from phi_magic.rendering.table import Table
from tests.hostile_texts import HOSTILE

TEXT_TAGS = {
    *("a", "blockquote", "br", "code", "del", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p"),
    *("pre", "s", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}
ATTRIBUTES = {"class", "dir", "href", "id", "rel", "start", "style", "target"}


class Page(HTMLParser):
    """The elements, attributes and text of a page, and what in it could act."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.dangers, self.links, self.texts, self.within = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        if tag not in TEXT_TAGS:
            self.dangers.append(tag)
        for name, value in attributes:
            if name not in ATTRIBUTES or (
                name == "style" and not re.fullmatch(r"text-align: ?\w+;?|margin-bottom:1em", value)
            ):
                self.dangers.append((tag, name, value))
            if name == "href":
                self.links.append(value)
                if not re.match(r"https?://|mailto:|#", value, re.IGNORECASE):
                    self.dangers.append((tag, name, value))
        if tag not in {"br", "hr"}:
            self.within.append(tag)

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag):
        assert self.within.pop() == tag

    def handle_data(self, data):
        self.texts.append((data, tuple(self.within)))

    def handle_comment(self, data):
        self.dangers.append(("comment", data))

    handle_decl = handle_pi = unknown_decl = handle_comment

    @property
    def text(self):
        return "".join(data for data, _ in self.texts)


# Other readers of to_markdown's result, each told to let raw HTML through. nbconvert's is mistune with formulas.
READERS = {
    "markdown-it": MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render,
    "mistune": mistune.create_markdown(escape=False, plugins=["table", "strikethrough", "footnotes", "url", "math"]),
    "nbconvert": markdown2html_mistune,
}

ANSWERS = st.one_of(
    st.lists(st.sampled_from(HOSTILE), max_size=24).map("".join),
    st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(), max_size=6)), max_size=24).map("".join),
    st.text(st.characters(), max_size=200),
    st.text("<>`[]()!*_\\$|&;:#-+~\n \tabx/'\"=", max_size=60),
)


def acting(text):
    """The characters of a text that a screen would obey."""
    return [
        character
        for character in text
        if (unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t")
        or unicodedata.bidirectional(character) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    ]


@settings(max_examples=400, deadline=None)
@given(ANSWERS)
@example("![" * 50 + "](http://h)" * 50)
def test_no_answer_acts_in_a_page(answer):
    html = to_html(answer)
    page = Page(html)
    assert page.dangers == []
    assert page.within == []
    assert not acting(html)
    html.encode()


@settings(max_examples=400, deadline=None)
@given(ANSWERS)
def test_no_answer_begins_a_formula_where_it_shows_text(answer):
    for data, within in Page(to_html(answer)).texts:
        if "code" in within:
            continue
        if data.startswith(("\\(", "\\[")):
            assert formula(data[2:-2]) is not None
            assert not re.search(r"(?<!\\)(?:\\\\)*\\[\[\]()]|\$", data[2:-2])
        else:
            assert data in ("$", "\\") or not set(data) & set("$\\")


@given(ANSWERS)
def test_a_text_that_is_no_markdown_is_shown_to_the_letter(text):
    page = Page(f"<p>{escape(text)}</p>")
    assert page.text == to_text(text)
    assert page.dangers == []
    assert all(data in ("$", "\\") or not set(data) & set("$\\") for data, _ in page.texts)


@settings(max_examples=600, deadline=None)
@given(ANSWERS)
@example("`\\begin{aligned}\\mmlToken{}` $$\\begin{aligned}x\\end{aligned}$$")
@example("|a|\n|-|\n|`x|<img src=x onerror=alert(1)>`|")
@example("- a\n\n      <b>\n\n  ```\n  <b>\n```\n<b>")
@pytest.mark.parametrize("reader", READERS)
def test_no_answer_acts_in_another_markdown_parser(reader, answer):
    markdown = to_markdown(answer)
    assert Page(READERS[reader](markdown)).dangers == []
    assert not acting(markdown)
    markdown.encode()


@settings(max_examples=400, deadline=None)
@given(ANSWERS)
@example("`\n|<b>\\x|`")
@pytest.mark.parametrize("reader", READERS)
def test_no_cell_of_a_table_acts_nor_breaks_its_row(reader, answer):
    markdown = Table(["n", answer], [["1", answer], ["2", "x"]], answer).to_markdown()
    page = Page(READERS[reader](markdown))
    assert page.dangers == []
    assert page.links == []
    assert {"td", "table"} <= {tag for _, within in page.texts for tag in within}
    assert not acting(markdown)
    assert markdown.count("\n| ") == 3


@settings(max_examples=400, deadline=None)
@given(ANSWERS)
def test_another_parser_reads_the_same_words(answer):
    def words(html):
        return re.sub(r"[*_]", "", Page(html).text).split()  # emphasis within emphasis is written in few ways

    for differing in "$\\~":  # formulas, commands as code, and passages struck out
        answer = answer.replace(differing, "")
    assert words(READERS["markdown-it"](to_markdown(answer))) == words(to_html(answer))


@given(st.text(st.characters()))
def test_a_terminal_obeys_nothing(text):
    shown = to_text(text)
    assert not acting(shown)
    if not acting(text):
        assert shown == text


def test_a_terminal_shows_escapes_by_name():
    assert to_text("a\x1b[31mb\u202ec\ud800\td\r\ne\x9b\x7f\x00") == "a␛[31mb⟨U+202E⟩c\ufffd\td\ne⟨U+009B⟩␡␀"


def test_hebrew_and_arabic_keep_their_marks():
    assert to_text("שלום\u200f, مرحبا\u061c!") == "שלום\u200f, مرحبا\u061c!"


@pytest.mark.parametrize(
    "markup",
    ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<!-- a -->", "<b>bold</b>", "<div\nclass=x>"],
)
def test_markup_is_shown_as_text(markup):
    assert " ".join(Page(to_html(markup)).text.split()) == " ".join(markup.split())
    assert " ".join(unescape(to_markdown(markup)).split()) == " ".join(markup.split())


def test_a_remote_image_is_a_link_to_click():
    link = '<a href="https://a.b/c.png" rel="noopener noreferrer" target="_blank">image: a cat</a>'
    assert link in to_html("Look![a cat](https://a.b/c.png)")
    assert to_markdown("![a cat](https://a.b/c.png)") == "[image: a cat](https://a.b/c.png)\n"


def test_an_image_without_a_name_shows_its_address():
    assert Page(to_html("![](https://a.b/c.png)")).text.strip() == "image: https://a.b/c.png"


@pytest.mark.parametrize(
    "link",
    [
        *("[x](javascript:alert(1))", "[x](JaVaScRiPt:alert(1))", "[x](vbscript:x)", "[x](data:text/html,x)"),
        *("![x](data:image/png;base64,AA)", "<javascript:alert(1)>", "[x](file:///etc/passwd)", "[x](//host/x)"),
        *("[x](/api/shutdown)", "[x](other.ipynb)", "[x](#main)"),
    ],
)
def test_a_link_elsewhere_is_the_text_that_was_written(link):
    page = Page(to_html(link))
    assert page.links == []
    assert page.text.strip() == link
    assert Page(READERS["nbconvert"](to_markdown(link))).links == []


def test_a_reference_to_a_script_is_no_link():
    assert Page(to_html("[x][r]\n\n[r]: javascript:alert(1)")).links == []


def test_an_empty_link_does_not_lead_back_to_the_notebook():
    assert Page(to_html("[x]()")).links == []


def test_an_address_is_kept_whole():
    assert Page(to_html("[x](https://a.b/c?d=1&e=%20é#f)")).links == ["https://a.b/c?d=1&e=%20%C3%A9#f"]
    assert Page(READERS["nbconvert"](to_markdown("<https://a.b/c?d=1&copy=2>"))).links == ["https://a.b/c?d=1&copy=2"]


def test_a_haiku_keeps_its_lines():
    assert to_html("Puck glides on cold ice,\nthe goalie").count("<br>") == 1
    assert to_markdown("Puck glides on cold ice,\nthe goalie") == "Puck glides on cold ice,  \nthe goalie\n"


@pytest.mark.parametrize(
    ("written", "tex"),
    [
        ("$x_1 * y_2 * z$", r"\(x_1 * y_2 * z\)"),
        (r"\(a<b\)", r"\(a<b\)"),
        ("$$\nx = 1\n- y\n$$", "\\[x = 1\n- y\\]"),
        ("so\n\\[\nx\n= y\n\\]", "\\[x\n= y\\]"),
        (
            r"$$\begin{align*} a &= b \\ c &= d \label{e}\end{align*}$$",
            r"\[\begin{aligned} a &= b \\ c &= d \end{aligned}\]",
        ),
        (
            "\\begin{align}\na &= b \\tag{1}\n\\end{align}",
            "\\[\\begin{aligned}\na &= b \\qquad \\text{(1)}\n\\end{aligned}\\]",
        ),
        (r"$a\\[2pt]b\\$", r"\(a\\ b\)"),
        (r"- item $\frac{1}{2}$", r"\(\frac{1}{2}\)"),
    ],
)
def test_a_formula_reaches_the_typesetter_untouched(written, tex):
    assert tex in [data for data, _ in Page(to_html(written)).texts]


@pytest.mark.parametrize(
    "prose",
    [
        *("$5 and $10", "It costs $5.", "US$5 or A$6$", "$5-$10", "$ 5 $", r"\$x\$", "$5 is more than 3$", "a $ b"),
        *(r"C:\Users\me", r"\\(x\\)", r"\alpha alone", r"see \begin{align} x \end{align}"),
    ],
)
def test_money_and_paths_are_no_formulas(prose):
    assert "phi-formula" not in to_html(prose)


@pytest.mark.parametrize(
    "tex",
    [
        *(r"\href{javascript:alert(1)}{x}", r"\mmlToken{mglyph}[src='http://h']{}", r"\def\pi{3}", r"\require{html}"),
        *(
            r"\style{color:red}{x}",
            r"\class{c}{x}",
            r"\cssId{i}{x}",
            r"\bbox[background:url(h)]{x}",
            r"\input{f}",
            "x%y",
        ),
        *(
            r"\includegraphics{f}",
            r"^^5cinput{f}",
            r"\begin{filecontents}{f}\end{filecontents}",
            r"\begin{aligned}",
            "x}",
        ),
        *(
            r"\left\href{h}",
            "{" * 40 + "}" * 40,
            "x" * 3000,
            r"\begin {html}\end {html}",
            "\\begin\n{a}",
            r"\@",
            r"\unicode{1}",
        ),
    ],
)
def test_a_formula_that_commands_is_shown_as_its_source(tex):
    assert formula(tex) is None
    assert "phi-formula" not in to_html(f"${tex}$")
    assert tex.replace("\n", " ") in Page(to_html(f"\\({tex}\\)")).text


def test_the_listed_commands_make_no_link_load_nothing_and_define_nothing():
    commanding = """href url class cssId style data htmlClass htmlId htmlStyle htmlData includegraphics unicode char
        mmlToken bbox require def gdef edef xdef let futurelet newcommand renewcommand providecommand newenvironment
        renewenvironment DeclareMathOperator DeclarePairedDelimiters input include write openin read csname catcode
        texttip mathtip toggle action enclose label ref eqref cite verb rule hspace vspace raise lower kern mskip
        hskip color textcolor definecolor colorbox fcolorbox ce pu usepackage special directlua immediate"""
    assert not COMMANDS & set(commanding.split())


def test_a_page_has_only_so_much_to_typeset():
    html = to_html("$x+y+z$ " * 10_000)
    assert 1000 < html.count("phi-formula") < 10_000
    assert "<code>$x+y+z$</code>" in html


@pytest.mark.parametrize(
    ("written", "markdown"),
    [
        ("!![a](http://h)", "&#33;[image: a](http://h)"),  # an image to all
        ("http://h`<b>`", "http&#58;//h`<b>`"),  # mistune's address takes the first backtick with it
        ("~~a `~~<b>` c~~", r"\~\~a `~~<b>` c\~\~"),  # marked ends the passage inside the code
        ("$x$`y`", "$x$ `y`"),  # JupyterLab hides the dollar sign before a span from itself
        ("$x$$$y$$[]()$z$", "$x$ $$y$$ $z$"),  # or reads the first two of three
        ("$a~b$", r"$a\ b$"),  # and marked would strike out what is between two such blanks
        ("[$![$](http://h)", "[$! [$](http://h)"),  # an image where formulas are unknown
        ("@@0@@", "&#64;&#64;0&#64;&#64;"),  # JupyterLab's own placeholder for a formula
        (
            "`\\begin{x}` $\\begin{cases}a\\end{cases}$",
            "`\\begin{x}` `$\\begin{cases}a\\end{cases}$`",
        ),  # which it looks for in code
        ("`a` ``b`c``", "``a`` ``b`c``"),  # spans fenced alike stay spans where two are joined
        ("|a|\n|-|\n|`b\\|<b>`|", "| a |\n| --- |\n| b\\|&lt;b&gt; |"),  # cells end at a bar in code, or do not
        ("[a<http://h>](http://i)`<b>`", "[ahttp&#58;//h](http://i)`<b>`"),  # no link within a link
        ("- a\n\n      <b>\n- b", "- a\n\n```\n<b>\n```\n\n- b"),  # where code in a list ends, all disagree
        (r"\input{f}", r"`\input`\{f\}"),  # pandoc would pass it to LaTeX
    ],
)
def test_what_parsers_disagree_about_is_written_in_one_way(written, markdown):
    assert to_markdown(written) == markdown + "\n"


def test_code_is_shown_as_it_was_written():
    code = "def f(x):\n\treturn '<b>' and x\n\n\n$y$ \\(z\\) `q` ![a](http://h)\n"
    for fence in ("```", "~~~~"):
        assert Page(to_html(f"{fence}python\n{code}{fence}")).text.strip() == code.strip()
        assert Page(READERS["markdown-it"](to_markdown(f"{fence}python\n{code}{fence}"))).text.strip() == code.strip()


def test_code_has_the_classes_that_jupyter_colours():
    html = to_html("```python\ndef f(): pass\n```")
    assert '<div class="highlight"' in html
    assert '<code class="language-python"><span class="k">def</span>' in html


@pytest.mark.parametrize("name", ["mermaid", "{=latex}", "{=html}", "math", 'html" onclick="x', "geojson"])
def test_the_name_of_a_code_block_starts_no_program(name):
    assert to_markdown(f"```{name}\nx\n```") == "```\nx\n```\n"
    assert Page(to_html(f"```{name}\nx\n```")).dangers == []


def test_an_answer_may_stop_anywhere():
    answer = (
        "# A **b\n\n- x\n\n  ```python\n  f('`')\n  ```\n\n|a|b|\n|-|-|\n|`c`|[d](http://e)|\n\n$$\nx\n$$ ![f](http://g"
    )
    for end in range(len(answer) + 1):
        assert Page(to_html(answer[:end])).dangers == []
        assert Page(READERS["nbconvert"](to_markdown(answer[:end]))).dangers == []


@pytest.mark.parametrize(
    "mark", ["[", "![", ">", "- ", "*", "_", "`", "~~", "$", "\\(", "\\[\n", "(", "<", "|", "&#", "{", "#", "\n"]
)
def test_however_often_a_mark_is_said_the_answer_is_shown(mark):
    """Parsers that try every beginning against every end would not come back from this."""
    many = mark * 20_000
    assert Page(to_html(many)).dangers == []
    assert Page(READERS["markdown-it"](to_markdown(many))).dangers == []


def test_a_text_longer_than_any_answer_is_shown_without_markup():
    blanks = " " * 1_000_000 + "<b>"
    assert Page(to_html(blanks)).text.strip() == "<b>"
    assert to_html("**a** " * LONGEST).count("<strong>") == 0
    assert to_markdown("`" * 1_000_000).startswith("`" * 1_000_001)


def test_a_long_run_of_blank_lines_in_code_is_not_coloured():
    assert "<span" not in to_html("```c\n" + "\n" * 4000 + "int x;\n```")


def test_a_long_text_in_a_table_breaks_no_name_beside_it():
    shown = Table(["model", "where", "text"], [["phi-3-mini-4k", "downloaded", "long " * 60]]).to_plain()
    assert "phi-3-mini-4k  downloaded  long" in shown
    assert max(map(len, shown.splitlines())) <= 114
