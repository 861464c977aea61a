"""Paths as users write them."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with ``~`` for a home filled in; one of a user whom nobody knows stays as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (Path.expanduser raises on an unknown user)


def show_path(path: str | os.PathLike[str]) -> str:
    """A path as one line, whatever characters it holds."""
    text = str(path)
    return text if text.isprintable() else repr(text)
