"""Handle paths as users write them, the cache folder, and small files that other programs write."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import PhiError

#: Bytes of the longest text file that is read.
LONGEST = 256 * 2**20


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with ``~`` for a home filled in; one of a user whom nobody knows stays as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (Path.expanduser raises on an unknown user)


def show_path(path: str | os.PathLike[str]) -> str:
    """A path as one line, whatever characters it holds."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def cache_folder() -> Path:
    """Return the user's cache folder; it need not exist."""
    standard = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    return expanded(os.environ.get("XDG_CACHE_HOME") or standard) / "phi_magic"


def read_json(path: Path, longest: int = 1_000_000) -> Any:
    """Read a JSON file of at most so many bytes.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, is longer, or does not hold JSON.
    """
    try:
        return json.loads(_read(path, longest))
    except RecursionError:
        raise ValueError("its JSON is nested too deep") from None


def read_text(path: Path, longest: int = LONGEST) -> str:
    """Return the text of a file in UTF-8.

    Raises:
        PhiError: it is no regular file, cannot be read, is longer than ``longest`` bytes, or is not in UTF-8.
    """
    try:
        return _read(path, longest).decode()
    except UnicodeDecodeError as error:
        reason = f"it is not in UTF-8 (byte {error.start:,} is 0x{error.object[error.start]:02x})"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", "") or str(error)
    raise PhiError(f"{show_path(path)}: cannot be read: {reason}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to, beside ``path``, that takes its place when the block ends, and is deleted if it raises."""
    path = path.resolve()  # a link stays one
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield new
        new.replace(path)
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


def _read(path: Path, longest: int) -> bytes:
    """The bytes of a file. A device such as ``/dev/zero`` has no end, and opening a FIFO waits for a writer."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is not a regular file")
    with path.open("rb") as file:
        data = file.read(longest + 1)
    if len(data) > longest:
        raise ValueError(f"it is longer than {longest:,} bytes")
    return data
