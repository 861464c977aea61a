"""The built documentation, page by page, on a narrow and a wide screen, in both colour schemes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser
PROJECT = Path(__file__).parents[2]
WIDTHS = (400, 1280)
SCHEMES = ("light", "dark")
# What sticks out of the page, images that have not been drawn, and tables of an answer that are no tables.
LOOK = """() => ({
    width: document.documentElement.scrollWidth - innerWidth,
    images: [...document.querySelectorAll("img[src]")].filter(image => !image.complete || !image.naturalWidth).map(image => image.src),
    tables: [...document.querySelectorAll(".cell_output p")].filter(p => p.innerText.startsWith("|")).length,
})"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The address of the site, and its folder."""
    if not find_spec("myst_nb") and os.environ.get("CI") != "true":
        pytest.skip("the site is built with the extra `docs`")
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "sphinx", "--builder", "html", "--fail-on-warning", "--quiet", "docs", str(folder)]
    done = subprocess.run(build, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


def test_every_page_fits_the_screen_shows_its_images_and_has_no_error(site, chromium):
    address, folder = site
    page = chromium.new_page()
    seen = []
    page.on("console", lambda message: message.type == "error" and seen.append((page.url, message.text)))
    page.on("pageerror", lambda error: seen.append((page.url, str(error))))
    pages = sorted(path.relative_to(folder) for path in folder.rglob("*.html") if "_static" not in path.parts)
    assert Path("examples/quickstart.html") in pages
    for path in pages:
        page.goto(f"{address}/{path}")
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                looked = page.evaluate(LOOK)
                if looked["width"] > 0 or looked["images"] or looked["tables"]:
                    seen.append((f"{path}, {width} pixels, {scheme}", looked))
    page.close()
    assert not seen
