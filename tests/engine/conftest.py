"""An engine of each test's own, with the shipped model."""

from __future__ import annotations

import pytest

from phi_magic import Phi
from phi_magic.engine.engine import Engine


@pytest.fixture
def engine():
    engine = Engine()
    yield engine
    engine.unload()


@pytest.fixture
def phi(engine):
    phi = Phi(model="demo", seed=1)
    phi.backend = engine
    return phi
