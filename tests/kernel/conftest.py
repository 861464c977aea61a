from __future__ import annotations

import pytest

from tests.kernel.kernels import LiveKernel


@pytest.fixture
def kernel():
    """A running kernel of the test's own."""
    kernel = LiveKernel()
    yield kernel
    kernel.close()
