from __future__ import annotations

import os

import nbformat
import pytest

from tests.browser.frontends import HOW_TO_GET_CHROMIUM, JupyterServer, NotebookPage, find_chromium, running_chromium


@pytest.fixture(scope="package")
def chromium():
    """A browser. The package's scope ends Playwright's event loop before other tests want one of their own."""
    path = find_chromium()
    if path is None:
        missing = f"Chromium is missing: {HOW_TO_GET_CHROMIUM}"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    with running_chromium(path) as browser:
        yield browser


@pytest.fixture(scope="package")
def servers(tmp_path_factory):
    """Starts each front end's server when it is first asked for."""
    started = {}

    def server(application):
        if application not in started:
            started[application] = JupyterServer(application, tmp_path_factory.mktemp(application))
        return started[application].wait()

    yield server
    for running in started.values():
        running.close()


@pytest.fixture(params=["lab", "notebook"])
def application(request):
    """Each test runs in both front ends, unless it names one by parametrizing this."""
    return request.param


@pytest.fixture
def open_notebook(chromium, servers, application, request, tmp_path):
    """A function that opens cells, or a notebook's path, on a page of its own. At the end the kernel is shut down."""
    server = servers(application)
    pages = []

    def open_notebook(notebook, **context_options):
        if not isinstance(notebook, nbformat.NotebookNode):
            notebook = nbformat.read(notebook, as_version=4)
        name = f"{tmp_path.name}-{len(pages)}.ipynb"
        nbformat.write(notebook, server.root / name)
        context = chromium.new_context(**context_options)
        page = NotebookPage(context.new_page(), server)
        pages.append((page, context))
        page.open(name)
        return page

    yield open_notebook
    for page, context in pages:
        page.shut_down()
        context.close()
