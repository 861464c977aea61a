"""A server on the loopback, and what asks it."""

import pytest

from phi_magic import Phi
from tests.openai_server import OpenAIServer


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
    servers = []

    def make(dialect, **options):
        servers.append(OpenAIServer(dialect, **options))
        return servers[-1], Phi(model=servers[-1].url, seed=1)

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()
