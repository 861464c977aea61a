"""Whatever a model writes, its page runs nothing and asks no server for anything: a listening one hears nothing."""

import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from phi_magic import Phi
from tests.hostile_texts import HOSTILE
from tests.notebooks import notebook_of

pytestmark = pytest.mark.browser

PICTURE = b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'
# What acts through the front ends' own programs: their typesetter's pictures, and drawings described in text.
ACTING = [
    r"$\mmlToken{mglyph}[src='http://h/formula']{}$",
    r"\\(\mmlToken{mglyph}[src='http://h/formula']{}\\)",
    r"`\(` $\\mmlToken{mglyph}[src='http://h/formula']{}$ `\)`",
    r"`\begin{aligned}\mmlToken{mglyph}[src='http://h/formula']{}` $$\begin{aligned}x\end{aligned}$$",
    r"$x\}$$$y$$`\mmlToken{mglyph}[src='http://h/formula']{}`$z$",
    "\n\n```mermaid\ngraph TD\nA[<img src='http://h/drawing'>] --> B\n```\n\n",
    "<script>window.caught = true</script>",
    "<img src=x onerror='window.caught = true'>",
    "[click](javascript:window.caught=true)",
]
# Each form, as an expression over an answer that makes the most of it.
FORMS = {
    **{form: f"both(answer, {form!r})" for form in ("markdown", "text", "html")},
    "code": "both('```html\\n' + answer, 'code')",
    "json": "both(json.dumps({answer: [answer]}), 'json')",
    "math": "bundle('$$' + answer + '$$', 'math')",
    "tokens": "tokens_bundle([Token(7, answer, -1.0, 0.5, 1, (Alternative(7, answer, -1.0, 0.5),))])",
}
TABLE = "{**Table([answer], [[answer]], answer).bundle(whole=False), **Table([answer], [[answer]], answer).bundle()}"
ACTING_ELEMENTS = (
    "img[src]:not([src^='data:image/']), script, iframe, style, svg, object, embed, form, input, link, meta, "
    "[onerror], [onload]"
)


def test_every_form_is_tried_here():
    assert {*FORMS} == {*Phi.format.values}


@pytest.fixture
def listener():
    heard = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            heard.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "image/svg+xml")
            self.end_headers()
            self.wfile.write(PICTURE)

        def log_message(self, *arguments):
            pass

    class Listener(ThreadingHTTPServer):
        def get_request(self):
            heard.append("a connection")  # whatever comes over it, if anything does
            return super().get_request()

    with Listener(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.heard = heard
        server.address = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()


def displaying(answers, bundle):
    """A cell that displays each answer, and at last a formula."""
    return (
        "from IPython.display import display\nfrom phi_magic.rendering import to_html\n"
        f"for answer in {answers!a}:\n    display({bundle}, raw=True)\n"
        "display({'text/html': to_html('$x^2$')}, raw=True)"
    )


def displaying_as(form, answers):
    """A cell that displays each answer in a form, as every type that it has there, a million blanks, and a formula."""
    return (
        "import json\nfrom IPython.display import display\nfrom phi_magic.rendering.formats import bundle\n"
        "from phi_magic.rendering import to_html\nfrom phi_magic.reply import Alternative, Token\n"
        "from phi_magic.rendering.token_shading import bundle as tokens_bundle\n"
        "from phi_magic.rendering.table import Table\n"
        "def both(text, form):\n    return {**bundle(text, form, whole=False), **bundle(text, form)}\n"
        f"for answer in [*{answers!a}, ' ' * 1_000_000 + 'end']:\n"
        f"    for kind, data in {(FORMS | {'table': TABLE})[form]}.items():\n        display({{kind: data}}, raw=True)\n"
        "display({'text/html': to_html('$x^2$')}, raw=True)"
    )


def run_until_typeset(notebook, cell=0):
    notebook.run(cell)
    notebook.answer(cell).last.locator("mjx-container").wait_for()


def test_no_answer_runs_or_makes_a_request_in_any_form(open_notebook, listener):
    draw = random.Random(7)
    pieces = [piece.replace("http://h", listener.address) for piece in HOSTILE + 4 * ACTING]
    answers = ["".join(draw.choices(pieces, k=20)) for _ in range(14)]  # the front ends show 50 outputs
    forms = [*FORMS, "table"]
    notebook = open_notebook(notebook_of(*(displaying_as(form, answers) for form in forms)))
    for cell, form in enumerate(forms):
        run_until_typeset(notebook, cell)
        outputs = notebook.answer(cell)
        assert outputs.count() > len(answers) + 1
        assert "end" in outputs.nth(-2).inner_text()[-20:]
        acting = outputs.locator(ACTING_ELEMENTS).evaluate_all("elements => elements.map(element => element.localName)")
        assert {form: {*acting}} == {form: set()}
        # JupyterLab makes links of its own in plain text, which open another page, and in a heading, which lead to it.
        links = notebook.output(cell).locator(".jp-OutputArea-output:not(.jp-RenderedText) a")
        addresses = links.evaluate_all("links => links.map(link => link.getAttribute('href') ?? '#')")
        assert [
            address for address in addresses if not address.startswith(("http://", "https://", "mailto:", "#"))
        ] == []
    notebook.page.wait_for_timeout(500)  # what would still be on its way
    assert listener.heard == []
    assert notebook.foreign_requests == []
    assert notebook.page.evaluate("window.caught") is None
    assert notebook.console_errors == []


@pytest.mark.parametrize("application", ["lab"])
def test_the_listener_hears_what_is_shown_without_our_rendering(open_notebook, listener):
    picture = f"<img src={listener.address}/picture>"
    formula = rf"\(\mmlToken{{mglyph}}[src='{listener.address}/formula']{{}}\)"
    notebook = open_notebook(notebook_of(displaying([picture, formula], "{'text/html': answer}")))
    run_until_typeset(notebook)
    assert set(listener.heard) == {"a connection", "/picture", "/formula"}


@pytest.mark.parametrize("application", ["lab"])
def test_of_all_forms_the_page_shows_html(open_notebook):
    show = "display({'text/plain': 'PLAIN', 'text/markdown': '*MARKDOWN*', 'text/html': '<b>HTML</b>'}, raw=True)"
    notebook = open_notebook(notebook_of(show))
    notebook.run(0)
    assert notebook.answer(0).inner_text().strip() == "HTML"


def test_code_and_formulas_look_like_the_front_ends_own(open_notebook):
    show = displaying(
        [r"$$\begin{align*}a &= b\end{align*}$$", "```python\ndef f(): pass\n```"], "{'text/html': to_html(answer)}"
    )
    notebook = open_notebook(notebook_of(show))
    run_until_typeset(notebook)
    assert notebook.answer(0).first.locator("mjx-mtable").count() == 1
    keyword = notebook.answer(0).locator(".highlight .k").first
    colours = "element => [getComputedStyle(element).color, getComputedStyle(element.parentElement).color]"
    keyword_colour, text_colour = keyword.evaluate(colours)
    assert keyword_colour != text_colour
