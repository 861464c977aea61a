"""Paths as users write them, the folder for what can be made again, and small files that others write."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

_LONGEST = 1_000_000  # bytes of a small JSON file


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with ``~`` for a home filled in; one of a user whom nobody knows stays as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (Path.expanduser raises on an unknown user)


def show_path(path: str | os.PathLike[str]) -> str:
    """A path as one line, whatever characters it holds."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def cache_folder() -> Path:
    """The user's folder for what phi_magic can make again; it need not exist."""
    standard = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    return expanded(os.environ.get("XDG_CACHE_HOME") or standard) / "phi_magic"


def read_json(path: Path) -> Any:
    """Read a JSON file of at most a megabyte.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, or does not hold JSON.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # a FIFO would block, a device never end
        raise ValueError("it is no regular file")
    with path.open("rb") as file:
        try:
            return json.loads(file.read(_LONGEST))
        except RecursionError:
            raise ValueError("its JSON is nested too deep") from None
