"""Whatever a model writes, its page runs nothing and asks no server for anything: a listening one hears nothing."""

import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

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

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.heard = heard
        server.address = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()


def displaying(answers, bundle):
    """A cell that displays each answer, and at last a formula."""
    return (
        "from IPython.display import display\nfrom phi_magic.rendering import to_html, to_markdown\n"
        f"for answer in {[*answers, '$x^2$']!a}:\n    display({bundle}, raw=True)"
    )


def run_until_typeset(notebook):
    notebook.run(0)
    notebook.answer(0).last.locator("mjx-container").wait_for()


@pytest.mark.parametrize("form", ["html", "markdown"])
def test_no_answer_runs_or_makes_a_request(open_notebook, listener, form):
    draw = random.Random(7)
    pieces = [piece.replace("http://h", listener.address) for piece in HOSTILE + 4 * ACTING]
    answers = ["".join(draw.choices(pieces, k=20)) for _ in range(40)]  # the front ends show 50 outputs
    notebook = open_notebook(notebook_of(displaying(answers, f"{{'text/{form}': to_{form}(answer)}}")))
    run_until_typeset(notebook)
    outputs = notebook.answer(0)
    assert outputs.count() == len(answers) + 1
    assert listener.heard == []
    assert notebook.foreign_requests == []
    assert notebook.page.evaluate("window.caught") is None
    acting = "img, script, iframe, style, svg, object, embed, form, input, link, meta, [onerror], [onload]"
    assert outputs.locator(acting).count() == 0
    addresses = outputs.locator("a").evaluate_all("links => links.map(link => link.getAttribute('href') ?? '#')")
    # JupyterLab gives a heading of Markdown a link to itself.
    assert all(address.startswith(("http://", "https://", "mailto:", "#")) for address in addresses)
    assert notebook.console_errors == []


@pytest.mark.parametrize("application", ["lab"])
def test_the_listener_hears_what_is_shown_without_our_rendering(open_notebook, listener):
    picture = f"<img src={listener.address}/picture>"
    formula = rf"\(\mmlToken{{mglyph}}[src='{listener.address}/formula']{{}}\)"
    notebook = open_notebook(notebook_of(displaying([picture, formula], "{'text/html': answer}")))
    run_until_typeset(notebook)
    assert set(listener.heard) == {"/picture", "/formula"}


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
