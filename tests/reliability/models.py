"""The shipped model, and a Phi-3 of the right width with two layers."""

from __future__ import annotations

from tests.conftest import PROJECT

DEMO = PROJECT / "phi_magic" / "demo" / "phi-demo.gguf"
