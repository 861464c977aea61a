"""A server on the loopback, and what asks it."""

import pytest

from phi_magic import Phi
from phi_magic.remote import servers
from tests.openai_server import OpenAIServer


@pytest.fixture(autouse=True)
def forgotten():
    """No server is taken for another one that had its port before."""
    servers._remembered.clear()


@pytest.fixture
def server():
    with OpenAIServer() as server:
        yield server
        server.shutdown()


@pytest.fixture
def phi(server):
    return Phi(model=server.url, seed=1, repeat_last_n=64)


@pytest.fixture
def served():
    """Makes a server of one kind, with what asks it."""
    made = []

    def make(dialect, **options):
        made.append(OpenAIServer(dialect, **options))
        return made[-1], Phi(model=made[-1].url, seed=1)

    yield make
    for server in made:
        server.shutdown()
        server.server_close()
