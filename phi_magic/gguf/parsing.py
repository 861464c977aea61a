"""Read a GGUF file's head without llama.cpp and without the weights.

Reading takes little time and memory, whatever the bytes are: every count and length is limited to what real files need
before anything is read or allocated for it. Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import PhiError
from ..machine import show_size
from ..paths import show_path
from .header import ARRAY, SCALARS, STRING, TENSOR_TYPES, Array, Header, Tensor, Value

LARGEST_HEADER = 1 << 27  # bytes; the largest published vocabularies need a tenth of it
LARGEST_TABLE = 1 << 16  # keys, or tensors
LARGEST_ARRAY = 1 << 22  # values
LARGEST_SHAPE = 4
LEAST_ALIGNMENT = 32


def unsound(path: Path, what: str) -> PhiError:
    return PhiError(f"{show_path(path)}: damaged, no sound GGUF: {what}; download it again")


class _Cursor:
    """Reads values one after the other from the file's head; EOFError where the head ends."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path, self.data, self.at = path, data, 0

    def take(self, count: int) -> bytes:
        if count > LARGEST_HEADER:
            raise unsound(self.path, f"{count:,} bytes of text or values in one place")
        self.at += count
        if self.at > len(self.data):
            raise EOFError
        return self.data[self.at - count : self.at]

    def scalar(self, letter: str) -> Any:
        return struct.unpack(f"<{letter}", self.take(struct.calcsize(f"<{letter}")))[0]

    def text(self) -> bytes:
        return self.take(self.scalar("Q"))

    def texts(self, count: int) -> list[bytes]:
        # the same as text() over and over, at the speed that hundreds of thousands of tokens need
        data, at, found, read = self.data, self.at, [], struct.Struct("<Q").unpack_from
        for _ in range(count):
            start = at + 8
            if start > len(data):
                raise EOFError
            at = start + read(data, at)[0]
            if at > len(data):
                self.take(at - start)
                raise EOFError
            found.append(data[start:at])
        self.at = at
        return found

    def value(self, key: str) -> Value:
        kind = self.scalar("I")
        if kind == STRING:
            return self.text().decode(errors="replace")
        if kind in SCALARS:
            return self.scalar(SCALARS[kind])  # type: ignore[no-any-return]
        if kind != ARRAY:
            raise unsound(self.path, f"{key!r:.80} has value type {kind}")
        kind, count = self.scalar("I"), self.scalar("Q")
        if kind not in SCALARS and kind != STRING:
            raise unsound(self.path, f"{key!r:.80} is an array of value type {kind}")
        if count > LARGEST_ARRAY:
            raise unsound(self.path, f"{key!r:.80} is an array of {count:,} values")
        if kind == STRING:
            return Array(kind, count, self.texts(count))
        return Array(kind, count, self.take(count * struct.calcsize(SCALARS[kind])))


def parse(path: Path, head: bytes, size: int) -> Header | None:
    """The header at the beginning of a file of `size` bytes; None when `head` ends before it does."""
    cursor = _Cursor(path, head)
    cursor.take(8)
    try:
        n_tensors, n_keys = cursor.scalar("Q"), cursor.scalar("Q")
        for count, what in ((n_tensors, "tensors"), (n_keys, "keys")):
            if count > LARGEST_TABLE:
                raise unsound(path, f"{count:,} {what}")
        metadata: dict[str, Value] = {}
        for _ in range(n_keys):
            key = cursor.text().decode(errors="replace")
            if not key or "\0" in key or key in metadata:  # llama.cpp compares up to a NUL
                raise unsound(path, f"the key {key!r:.80}{' twice' if key in metadata else ''}")
            metadata[key] = cursor.value(key)
        table = []
        for _ in range(n_tensors):
            name = cursor.text()
            n_dimensions = cursor.scalar("I")
            if not 1 <= n_dimensions <= LARGEST_SHAPE:
                raise unsound(path, f"tensor {name!r:.80} has {n_dimensions:,} dimensions")
            shape = tuple(cursor.scalar("Q") for _ in range(n_dimensions))
            table.append((name, shape, cursor.scalar("I"), cursor.scalar("Q")))
    except EOFError:
        return None
    alignment = metadata.get("general.alignment", LEAST_ALIGNMENT)
    # llama.cpp asserts that a mapped buffer lies on 32 bytes
    if not isinstance(alignment, int) or alignment < LEAST_ALIGNMENT or alignment & (alignment - 1) or alignment > size:
        raise unsound(path, f"general.alignment is {alignment!r:.80}")
    start = -(-cursor.at // alignment) * alignment
    return Header(path, size, metadata, tuple(_tensors(path, table, start, alignment, size)))


def _tensors(
    path: Path, table: list[tuple[bytes, tuple[int, ...], int, int]], start: int, alignment: int, size: int
) -> Iterator[Tensor]:
    seen: set[str] = set()
    expected = 0
    end = 0
    for raw_name, shape, kind, offset in table:
        name = raw_name.decode(errors="replace")
        if not name or "\0" in name or len(raw_name) >= 64 or name in seen:
            raise unsound(path, f"the tensor {name!r:.80}{' twice' if name in seen else ''}")
        seen.add(name)
        if kind not in TENSOR_TYPES:
            raise unsound(path, f"tensor {name!r} has type {kind}, which no weight has")
        type_name, block, block_bytes = TENSOR_TYPES[kind]
        elements = math.prod(shape)
        if not elements or elements >= 1 << 63 or shape[0] % block:
            raise unsound(path, f"tensor {name!r} of type {type_name} has the shape {shape}")
        nbytes = elements // block * block_bytes
        if offset != expected:
            raise unsound(path, f"tensor {name!r} lies at {offset:,}, not at {expected:,}")
        expected += -(-nbytes // alignment) * alignment
        end = start + offset + nbytes
        yield Tensor(name, shape, type_name, start + offset, nbytes)
    if end > size:
        raise PhiError(
            f"{show_path(path)}: {show_size(size)} of {show_size(end)}: the download is incomplete; pull it again"
        )
