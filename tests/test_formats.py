"""What an answer is shown as, in each format."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi_magic.errors import PhiError
from phi_magic.rendering import extract
from phi_magic.rendering.formats import FORMS, bundle, next_cell, remark, with_thoughts

CODE = """Here it is:

```bash
pip install ice
```

```python
def skate(n):
    return n * "⛸"
```

It skates.
"""


class TestMarkdownAndText:
    def test_a_whole_answer_is_published_as_markdown_and_text(self):
        assert bundle("*Hi*") == {"text/markdown": "*Hi*\n", "text/plain": "*Hi*"}
        html = '<div class="phi-answer">\n<p dir="auto"><em>Hi</em></p>\n</div>'
        assert bundle("*Hi*", whole=False) == {"text/html": html, "text/plain": "*Hi*"}

    def test_what_runs_from_right_to_left_is_html_which_alone_knows_directions(self):
        assert '<p dir="auto">שלום</p>' in bundle("שלום")["text/html"]

    def test_thoughts_stand_above_the_answer_in_html(self):
        page = with_thoughts(bundle("*Hi*"), "Hm.", "thought for 2 tokens")["text/html"]
        assert page.index("Hm.") < page.index("<em>Hi</em>")

    def test_text_is_published_as_text_alone(self):
        assert bundle("*Hi*", "text") == {"text/plain": "*Hi*"}


class TestCode:
    def test_the_python_block_stands_alone_and_highlighted(self):
        shown = bundle(CODE, "code")
        assert shown["text/plain"] == 'def skate(n):\n    return n * "⛸"'
        assert "pip" not in shown["text/markdown"]
        assert shown["text/markdown"].startswith("```python\n")
        assert next_cell(CODE) == shown["text/plain"]

    def test_while_it_streams_the_whole_answer_is_shown(self):
        assert "It skates" in bundle(CODE, "code", whole=False)["text/plain"]

    def test_another_language_is_shown_but_not_put_into_a_python_cell(self):
        text = "```sql\nSELECT 1\n```"
        assert bundle(text, "code")["text/plain"] == "SELECT 1"
        assert next_cell(text) is None
        assert remark(text, "code") == ""

    def test_a_block_that_names_no_language_is_taken_for_python(self):
        assert next_cell("```\nx = 1\n```") == "x = 1"

    def test_a_block_that_was_cut_counts(self):
        assert next_cell("```python\nx = 1\ny =") == "x = 1\ny ="

    def test_fences_inside_the_code_stay(self):
        text = '````python\nprint("""\n```\n""")\n````'
        assert bundle(text, "code")["text/plain"] == 'print("""\n```\n""")'
        assert bundle(text, "code")["text/markdown"] == text + "\n"

    def test_without_a_block_the_answer_is_shown_as_it_is_and_a_line_says_so(self):
        assert bundle("Use *print*", "code") == bundle("Use *print*")
        assert remark("Use *print*", "code") == "the answer has no code block"

    def test_characters_that_turn_code_around_are_visible_in_the_next_cell(self):
        assert "⟨U+202E⟩" in next_cell("```python\nx = '\u202e'\n```")


class TestJson:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ('{"a": [1, 2.5, null, true]}', {"a": [1, 2.5, None, True]}),
            (' [1, 2]\n"and so on"', [1, 2]),
            ('```json\n{"a": 1}\n```', {"a": 1}),
            ('Here it is:\n\n```\n{"a": 1}\n```\nDone.', {"a": 1}),
            ('The object is {"a": {"b": "}"}} as asked.', {"a": {"b": "}"}}),
            ("42", 42),
            ('"ice"', "ice"),
            ("null", None),
        ],
    )
    def test_the_value_is_found(self, text, value):
        assert extract.data(text) == value
        assert remark(text, "json") == ""

    def test_an_object_keeps_its_order_in_every_form(self):
        shown = bundle('{"name": "Ida", "age": 7}', "json")
        assert shown["text/plain"] == '{\n  "name": "Ida",\n  "age": 7\n}'
        assert shown["text/markdown"] == '```json\n{\n  "name": "Ida",\n  "age": 7\n}\n```\n'
        assert "application/json" not in shown  # a notebook file sorts its keys

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "no JSON at all",
            '{"a": ',
            '{"a": NaN}',
            "[Infinity]",
            "1e999",
            "[" * 200 + "]" * 200,
            "[" * 100_000,
            '{"a":' * 100_000,
            "1" * 10_000,
            "```json\n{broken}\n```",
        ],
    )
    def test_what_is_no_json_is_shown_as_text_with_one_line(self, text):
        assert set(bundle(text, "json")) == {"text/plain"}
        with pytest.raises(PhiError) as error:
            extract.data(text)
        assert str(error.value).startswith("the answer is not JSON: ")
        assert "\n" not in str(error.value)

    def test_half_a_character_does_not_reach_the_front_end(self):
        value = extract.data('{"\\ud800": ["\\udfff", "\\ud83d\\ude00"]}')
        assert value == {"?": ["?", "😀"]}
        json.dumps(bundle('["\\ud800"]', "json"), ensure_ascii=False).encode()

    def test_while_it_streams_it_is_text(self):
        assert bundle('{"a": 1', "json", whole=False) == {"text/plain": '{"a": 1'}


class Elements(HTMLParser):
    """Every element with its attributes, and the text outside of tags."""

    def __init__(self, source):
        super().__init__()
        self.found, self.text = [], []
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<img src=https://example.org/spy.png>",
    "<img srcset='https://example.org/spy.png 2x'>",
    "<img src=/api/shutdown>",
    "<svg><script>alert(1)</script><image href=https://example.org/x></svg>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<style>@import 'https://example.org/x.css'; body { display: none }</style>",
    "<link rel=stylesheet href=https://example.org/x.css>",
    "<p style='background: url(https://example.org/x)'>a</p>",
    "<p style='background-image: image-set(\"https://example.org/x\" 1x)'>a</p>",
    "<p style='color: red; background-color: u\\72l(https://example.org/x)'>a</p>",
    "<ul style='list-style-image: url(//example.org/x)'><li>a</ul>",
    "<p style='content: url(x); cursor: url(x), auto; filter: url(x); mask: url(x)'>a</p>",
    "<p style='--x: url(https://example.org); background: var(--x)'>a</p>",
    "<p style='position: fixed; inset: 0; z-index: 9999; background-color: white'>cover</p>",
    "<a href=javascript:alert(1)>a</a>",
    "<a href=' jAvAsCrIpT&#58;alert(1)'>a</a>",
    "<a href=data:text/html,<script>alert(1)</script>>a</a>",
    "<a href=/api/kernels>a</a>",
    "<a href=https://example.org ping=https://example.org/spy>a</a>",
    "<iframe src=https://example.org></iframe><object data=x></object><embed src=x>",
    "<form action=https://example.org><input name=q autofocus onfocus=alert(1)><button>Go</button></form>",
    "<meta http-equiv=refresh content='0; url=https://example.org'><base href=https://example.org>",
    "<video src=https://example.org poster=https://example.org></video><audio src=x></audio>",
    "<table background=https://example.org/x><tr><td background=https://example.org/x>a</table>",
    "<button data-commandlinker-command='terminal:open'>a</button><p class=jp-Button id=main>a</p>",
    "<template><img src=x onerror=alert(1)></template><noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<a href='https://example.org/?a=$x$>\"<b>'>$\\href{javascript:alert(1)}{x}$</a>",
    "<p title='\"><img src=x onerror=alert(1)>'>a</p>",
    "</div></div><p>outside</p>",
]


class TestHtml:
    @pytest.mark.parametrize("text", HOSTILE)
    def test_nothing_runs_loads_or_leads_elsewhere(self, text):
        shown = bundle(text, "html")["text/html"]
        page = Elements(shown)
        for tag, attributes in page.found[1:]:
            assert tag not in {"script", "style", "svg", "math", "iframe", "object", "form", "input", "button", "link"}
            assert tag not in {"meta", "base", "video", "audio", "template", "embed"}
            for name, value in attributes.items():
                assert name in {"href", "target", "rel", "style", "title", "alt"}, (name, value)
                if name == "href":
                    assert re.match(r"https?://|mailto:", value)
                if name == "style":
                    assert not re.search(r"url|image|var|position|\\", value)
        assert not any(re.search(r"\$.|\\.", text) for text in page.text)  # no typesetter finds a delimiter
        assert shown.count("<div") == shown.count("</div>")

    def test_what_draws_stays(self):
        page = (
            "<h1 style='color: teal; text-align: center'>Ice</h1><table><tr><th colspan=2>a</th></tr></table>"
            "<a href='https://example.org/a?b=1&amp;c'>more</a><img alt=dot src='data:image/png;base64,iVBORw0KGgo='>"
            "<details open><summary>s</summary>x</details>"
        )
        shown = bundle(page, "html")["text/html"]
        assert '<h1 style="color:teal;text-align:center">Ice</h1>' in shown
        assert '<th colspan="2">' in shown
        assert 'href="https://example.org/a?b=1&amp;c"' in shown
        assert 'target="_blank"' in shown
        assert 'rel="noopener noreferrer"' in shown
        assert 'src="data:image/png;base64,iVBORw0KGgo="' in shown
        assert "<summary>" in shown

    def test_a_page_in_a_code_block_is_taken_out_of_it(self):
        shown = bundle("Here:\n\n```html\n<b>Ice</b>\n```\n", "html")
        assert "<b>Ice</b>" in shown["text/html"]
        assert "Here" not in shown["text/html"]

    def test_amounts_of_money_stay_readable(self):
        assert "<span>$</span>5" in bundle("<p>costs $5</p>", "html")["text/html"]

    def test_while_it_streams_it_is_text(self):
        assert bundle("<b>Ice", "html", whole=False) == {"text/plain": "<b>Ice"}


class TestMath:
    @pytest.mark.parametrize(
        "text",
        ["E = mc^2", "$$E = mc^2$$", "\\[E = mc^2\\]", "\\(E = mc^2\\)", "$E = mc^2$", "```latex\nE = mc^2\n```"],
    )
    def test_a_formula_is_latex_however_it_is_delimited(self, text):
        assert bundle(text, "math")["text/latex"] == "$$\nE = mc^2\n$$"

    @pytest.mark.parametrize(
        "text",
        ["\\href{javascript:alert(1)}{x}", "\\input{/etc/passwd}", "\\def\\x{\\x}\\x", "$$\\mmlToken{mi}[src=x]{y}$$"],
    )
    def test_what_no_typesetter_may_be_given_is_shown_as_source(self, text):
        shown = bundle(text, "math")
        assert "text/latex" not in shown
        assert "\\(" not in shown["text/markdown"]
        assert not re.search(r"(?<!\\)\$", re.sub(r"(`+).*?\1", "", shown["text/markdown"], flags=re.DOTALL))

    def test_words_around_a_formula_are_no_formula(self):
        shown = bundle("Einstein found $E = mc^2$ in 1905.", "math")
        assert "text/latex" not in shown
        assert "$E = mc^2$" in shown["text/markdown"]
        assert "text/latex" not in bundle("I do not know this.", "math")


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200) | st.text('`{}[]"$\\<>=a1\n ', max_size=80), st.sampled_from(FORMS), st.booleans())
def test_any_answer_can_be_sent_in_any_form(text, form, whole):
    shown = bundle(text, form, whole=whole)
    assert "text/plain" in shown
    json.dumps(shown, ensure_ascii=False, allow_nan=False).encode()
    assert "\n" not in remark(text, form)


class TestThoughts:
    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("whole", [False, True])
    @pytest.mark.parametrize("text", ["", "$x^2$", '{"a": 1}', "*Hi* <b>there</b>"])
    def test_they_are_folded_above_the_answer_in_every_format(self, form, whole, text):
        data = bundle(text, form, whole=whole)
        shown = with_thoughts(data, "Hm, <i>five</i>.", "thought for 3 tokens")
        assert shown["text/html"].startswith("<details><summary")
        assert shown["text/html"].count("thought for 3 tokens") == 1
        assert "Hm, &lt;i&gt;five&lt;/i&gt;." in shown["text/html"]
        assert {**shown, "text/html": ""} == {**data, "text/html": ""}  # the rest is the answer alone

    def test_their_end_can_be_read_while_they_grow(self):
        shown = with_thoughts(bundle("", "text"), "first " + "then " * 1000 + "last", "", growing=True)["text/html"]
        assert shown.startswith("<details open><summary")
        assert "first" not in shown
        assert "then last</div>" in shown
        assert len(shown) < 1000

    def test_the_answer_stands_below_them(self):
        assert with_thoughts(bundle("a < *b*", "text"), "Hm", "")["text/html"].endswith(">a &lt; *b*</pre>")
        assert "x^2" in with_thoughts(bundle("$x^2$", "math"), "Hm", "")["text/html"]

    def test_without_them_nothing_changes(self):
        assert with_thoughts(bundle("Hi", "text"), "", "") == {"text/plain": "Hi"}
