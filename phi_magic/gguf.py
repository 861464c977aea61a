"""What a GGUF file says of itself, read without llama.cpp and bounded in time and memory whatever the file holds.

llama.cpp runs in the kernel's own process, and some of what a file can say ends that process: an assertion, an
exception that nobody catches, an allocation without bound. So every file is read here first, and what llama.cpp
would trip over is refused in one line.
Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; limits: llama.cpp's gguf.cpp and llama-model.cpp.
"""

from __future__ import annotations

import math
import os
import re
import stat
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from .errors import PhiError

FIRST_READ = 1 << 21  # bytes; holds the header of a model with 32,064 tokens
LARGEST_HEADER = 1 << 27  # bytes; the largest published vocabularies need a tenth of it
LARGEST_TABLE = 1 << 16  # keys, or tensors
LARGEST_ARRAY = 1 << 22  # values
LARGEST_SHAPE = 4
MOST_LAYERS = 512
LEAST_ALIGNMENT = 32

# ggml's tensor types a weight can have: number: (name, weights in a block, bytes of a block)
TENSOR_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18), 42: ("Q2_0", 64, 18),
}  # fmt: skip

# llama.cpp's names for the mixtures of types in a file (enum llama_ftype)
FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4", 39: "NVFP4",
    40: "Q1_0", 41: "Q2_0",
}  # fmt: skip

# GGUF's value types: number: struct's letter; strings are 8, arrays 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9

# Architectures that llama.cpp loads and that write no text from left to right
NOT_WRITERS = re.compile(r"clip|.*bert.*|t5encoder|wavtokenizer-dec|gemma-embedding|llama-embed|dream|llada.*")


class Array(Sequence[Any]):
    """An array of the metadata, its values made from the bytes when first asked for."""

    def __init__(self, kind: int, length: int, raw: bytes | list[bytes]) -> None:
        self.kind, self.length, self.raw = kind, length, raw

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        return self.values[index]

    def __repr__(self) -> str:
        return f"<{self.length:,} values>"

    @cached_property
    def values(self) -> list[Any]:
        if isinstance(self.raw, list):
            return [text.decode(errors="replace") for text in self.raw]
        return list(struct.unpack(f"<{self.length}{SCALARS[self.kind]}", self.raw))


Value: TypeAlias = "str | int | float | bool | Array"


@dataclass(frozen=True)
class Tensor:
    """One weight: `shape` with the fastest dimension first, `offset` in bytes from the file's start."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    nbytes: int


@dataclass(frozen=True)
class Header:
    """A GGUF's metadata and tensor table; the weights themselves stay on the disk."""

    path: Path
    size: int
    metadata: dict[str, Value]
    tensors: tuple[Tensor, ...]

    @property
    def architecture(self) -> str:
        return self._text("general.architecture") or ""

    @property
    def name(self) -> str | None:
        return self._text("general.name")

    @property
    def licence(self) -> str | None:
        return self._text("general.license")

    @property
    def chat_template(self) -> str | None:
        return self._text("tokenizer.chat_template")

    @property
    def n_layer(self) -> int:
        return self.number("block_count")

    @property
    def n_embd(self) -> int:
        return self.number("embedding_length")

    @property
    def n_ff(self) -> int:
        return self.number("feed_forward_length")

    @property
    def n_head(self) -> int:
        return self.number("attention.head_count")

    @property
    def n_head_kv(self) -> int:
        return self.number("attention.head_count_kv", self.n_head)

    @property
    def key_length(self) -> int:
        """The width of one head's keys."""
        return self.number("attention.key_length", self.n_embd // (self.n_head or 1))

    @property
    def value_length(self) -> int:
        """The width of one head's values."""
        return self.number("attention.value_length", self.n_embd // (self.n_head or 1))

    @property
    def context_length(self) -> int:
        """How many tokens the model was trained to see at once."""
        return self.number("context_length")

    @property
    def n_vocab(self) -> int:
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        return len(tokens) if isinstance(tokens, Array) else 0

    @property
    def file_type(self) -> str:
        """The quantisation by llama.cpp's name, such as ``Q4_K_M``; the commonest tensor type where it is not said."""
        said = self.metadata.get("general.file_type")
        if isinstance(said, int) and said in FILE_TYPES:
            return FILE_TYPES[said]
        matrices = [tensor for tensor in self.tensors if len(tensor.shape) > 1] or list(self.tensors)
        bytes_of = {kind: sum(t.nbytes for t in matrices if t.type == kind) for kind in {t.type for t in matrices}}
        return max(bytes_of, key=lambda kind: (bytes_of[kind], kind))

    @property
    def n_params(self) -> int:
        return sum(math.prod(tensor.shape) for tensor in self.tensors)

    @property
    def weight_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors)

    def number(self, key: str, default: int = 0) -> int:
        """The architecture's hyperparameter `key`, the largest where it is told layer by layer; PhiError if no count."""
        value = self.metadata.get(f"{self.architecture}.{key}", default)
        if isinstance(value, Array) and value.kind != STRING:
            value = max(value.values, default=0)
        if not isinstance(value, int) or not 0 <= value < 1 << 32:
            raise PhiError(f"{show_path(self.path)}: {self.architecture}.{key} is {value!r:.80}, not a count")
        return int(value)

    def _text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read what the GGUF at `path` says of itself, and refuse what llama.cpp could not load or would die of.

    Raises PhiError, one line that says what is wrong: no such file, a folder, something else than a GGUF, cut short,
    or impossible in itself.
    """
    path = Path(path).expanduser()
    try:
        with _open(path) as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(FIRST_READ)
            _check_magic(path, head)
            while (header := _parse(path, head, size)) is None:
                more = file.read(3 * len(head))
                if not more:
                    raise PhiError(
                        f"{show_path(path)}: {show_size(size)} and the header is not complete: "
                        "the download is incomplete; pull it again"
                    )
                if len(head) >= LARGEST_HEADER:
                    raise _unsound(path, f"a header of more than {show_size(LARGEST_HEADER)}")
                head += more
    except OSError as error:
        raise PhiError(f"{show_path(path)}: cannot be read: {error.strerror or error}") from error
    _check(header)
    return header


def show_path(path: str | os.PathLike[str]) -> str:
    """A path as one line, whatever characters it holds."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def show_size(nbytes: int) -> str:
    """A size as people say it: 726 kB, 2.39 GB (a GB is 1,000,000,000 bytes, as the hub counts)."""
    if nbytes < 1000:
        return f"{nbytes} bytes"
    power = min(int(math.log10(nbytes)) // 3, 4)
    return f"{nbytes / 1000**power:.3g} {'kMGT'[power - 1]}B"


def _open(path: Path) -> Any:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise PhiError(f"{show_path(path)}: no such file") from None
    except ValueError:  # a NUL or a lone surrogate in the name
        raise PhiError(f"{show_path(path)}: no such file: the name cannot be a file's") from None
    if stat.S_ISDIR(mode):
        inside = sorted(file.name for file in path.glob("*.gguf"))
        hint = f"; name the file in it, such as {show_path(path / inside[0])}" if inside else ", not a GGUF file"
        raise PhiError(f"{show_path(path)}: is a folder{hint}")
    if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
        raise PhiError(f"{show_path(path)}: is no ordinary file")
    return path.open("rb", buffering=0)


def _check_magic(path: Path, head: bytes) -> None:
    if head[:4] == b"GGUF" and len(head) >= 8:
        (version,) = struct.unpack_from("<I", head, 4)
        if version in {2, 3}:
            return
        if version & 0xFFFF == 0:
            raise PhiError(f"{show_path(path)}: a big-endian GGUF; this machine needs the little-endian file")
        newer = "llama.cpp here reads 2 and 3; upgrade llama-cpp-python" if version > 3 else "convert the model again"
        raise PhiError(f"{show_path(path)}: GGUF version {version}; {newer}")
    raise PhiError(f"{show_path(path)}: not a GGUF file: {_likeness(head)}")


def _likeness(head: bytes) -> str:
    """What a file that is no GGUF looks like, and what to do about it."""
    text = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "it is empty; download it again"
    if not any(head[:4096]):
        return "it begins with zeros, so the download never filled it; download it again"
    if text.startswith(b"version https://git-lfs"):
        return "it is a git-LFS pointer; fetch the file itself with git lfs pull, or with %phi_models pull"
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return "it is a web page; download the file itself (on the hub: /resolve/, not /blob/)"
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return "it is a safetensors file; take the model's GGUF"
    if head.startswith((b"PK\3\4", b"\x80\2", b"\x80\3", b"\x80\4")):
        return "it is a zip or PyTorch file; take the model's GGUF"
    if head.startswith((b"lmgg", b"fmgg", b"tjgg", b"algg")):
        return "it is in GGML, the format before GGUF; convert the model again"
    if head.startswith(b"\x1f\x8b"):
        return "it is gzip; unpack it first"
    if text.startswith((b"{", b"[")):
        return "it is JSON"
    if head.startswith(b"GGUF"):
        return "it stops after its first bytes; download it again"
    return f"it begins with {head[:8]!r}"


def _unsound(path: Path, what: str) -> PhiError:
    return PhiError(f"{show_path(path)}: damaged, no sound GGUF: {what}; download it again")


class _Cursor:
    """Reads values one after the other from the file's head; EOFError where the head ends."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path, self.data, self.at = path, data, 0

    def take(self, count: int) -> bytes:
        if count > LARGEST_HEADER:
            raise _unsound(self.path, f"{count:,} bytes of text or values in one place")
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
            raise _unsound(self.path, f"{key!r:.80} has value type {kind}")
        kind, count = self.scalar("I"), self.scalar("Q")
        if kind not in SCALARS and kind != STRING:
            raise _unsound(self.path, f"{key!r:.80} is an array of value type {kind}")
        if count > LARGEST_ARRAY:
            raise _unsound(self.path, f"{key!r:.80} is an array of {count:,} values")
        if kind == STRING:
            return Array(kind, count, self.texts(count))
        return Array(kind, count, self.take(count * struct.calcsize(SCALARS[kind])))


def _parse(path: Path, head: bytes, size: int) -> Header | None:
    """The header at the beginning of a file of `size` bytes; None when `head` ends before it does."""
    cursor = _Cursor(path, head)
    cursor.take(8)
    try:
        n_tensors, n_keys = cursor.scalar("Q"), cursor.scalar("Q")
        for count, what in ((n_tensors, "tensors"), (n_keys, "keys")):
            if count > LARGEST_TABLE:
                raise _unsound(path, f"{count:,} {what}")
        metadata: dict[str, Value] = {}
        for _ in range(n_keys):
            key = cursor.text().decode(errors="replace")
            if not key or key in metadata:
                raise _unsound(path, f"the key {key!r:.80} twice" if key else "a key without a name")
            metadata[key] = cursor.value(key)
        table = []
        for _ in range(n_tensors):
            name = cursor.text()
            n_dimensions = cursor.scalar("I")
            if not 1 <= n_dimensions <= LARGEST_SHAPE:
                raise _unsound(path, f"tensor {name!r:.80} has {n_dimensions:,} dimensions")
            shape = tuple(cursor.scalar("Q") for _ in range(n_dimensions))
            table.append((name, shape, cursor.scalar("I"), cursor.scalar("Q")))
    except EOFError:
        return None
    alignment = metadata.get("general.alignment", LEAST_ALIGNMENT)
    # llama.cpp asserts that a mapped buffer lies on 32 bytes
    if not isinstance(alignment, int) or alignment < LEAST_ALIGNMENT or alignment & (alignment - 1) or alignment > size:
        raise _unsound(path, f"general.alignment is {alignment!r:.80}")
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
        if not name or len(raw_name) >= 64 or name in seen:
            raise _unsound(path, f"the tensor {name!r:.80} twice" if name in seen else f"a tensor named {name!r:.80}")
        seen.add(name)
        if kind not in TENSOR_TYPES:
            raise _unsound(path, f"tensor {name!r} has type {kind}, which no weight has")
        type_name, block, block_bytes = TENSOR_TYPES[kind]
        elements = math.prod(shape)
        if not elements or elements >= 1 << 63 or shape[0] % block:
            raise _unsound(path, f"tensor {name!r} of type {type_name} has the shape {shape}")
        nbytes = elements // block * block_bytes
        if offset != expected:
            raise _unsound(path, f"tensor {name!r} lies at {offset:,}, not at {expected:,}")
        expected += -(-nbytes // alignment) * alignment
        end = start + offset + nbytes
        yield Tensor(name, shape, type_name, start + offset, nbytes)
    if end > size:
        raise PhiError(
            f"{show_path(path)}: {show_size(size)} of {show_size(end)}: the download is incomplete; pull it again"
        )


def _check(header: Header) -> None:
    """Refuse what llama.cpp meets with an assertion or with an exception past its own handlers."""
    path, metadata, architecture = header.path, header.metadata, header.architecture
    if not architecture:
        raise _unsound(path, "general.architecture is missing")
    if NOT_WRITERS.fullmatch(architecture):
        raise PhiError(f"{show_path(path)}: a {architecture} model, which writes no text; choose a language model")
    if not header.tensors:
        raise PhiError(f"{show_path(path)}: holds a vocabulary and no weights; choose the model's own file")
    split = metadata.get("split.count", 0)
    if split not in {0, 1}:
        raise PhiError(f"{show_path(path)}: one of {split!r:.20} parts; join them with llama-gguf-split --merge first")
    _check_layers(header)
    for key, value in metadata.items():
        name = key.removeprefix(f"{architecture}.")
        if name == key or not isinstance(value, float):
            continue
        if not math.isfinite(value) or ("epsilon" in name and not 0 <= value <= 1) or ("base" in name and value <= 0):
            raise _unsound(path, f"{key!r:.80} is {value}")
    if metadata.get(f"{architecture}.rope.scaling.type", "none") not in {"none", "linear", "yarn", "longrope"}:
        raise _unsound(path, f"{architecture}.rope.scaling.type is unknown")
    if metadata.get(f"{architecture}.attention.causal", True) is not True:
        raise PhiError(f"{show_path(path)}: not a causal language model; choose one that writes from left to right")
    _check_experts(header)
    if architecture in {"phi2", "phi3"}:
        _check_phi(header)
    for tensor in header.tensors:
        if len(tensor.shape) == 1 and tensor.type != "F32":
            raise _unsound(path, f"the vector {tensor.name!r} has type {tensor.type}, not F32")
    _check_vocabulary(header)


def _check_layers(header: Header) -> None:
    blocks = [re.search(r"\bblk\.(\d{1,9})\.", tensor.name) for tensor in header.tensors]
    in_table = 1 + max((int(block[1]) for block in blocks if block), default=-1)
    if header.n_layer != in_table or not 1 <= in_table <= MOST_LAYERS:
        said = f"{header.architecture}.block_count is {header.n_layer:,}"
        raise _unsound(header.path, f"{said} and the tensors are of {in_table:,} layers")
    if header.number("nextn_predict_layers") > header.n_layer:
        raise _unsound(header.path, "more layers that predict ahead than layers")


def _check_experts(header: Header) -> None:
    count, used = header.number("expert_count"), header.number("expert_used_count")
    groups, groups_used = header.number("expert_group_count"), header.number("expert_group_used_count")
    sound = (
        count <= 1024
        and (0 < used <= count and groups < count if count else used == groups == 0)
        and (groups <= 1 or (count % groups == 0 and 0 < groups_used < groups))
    )
    if not sound:
        raise _unsound(header.path, f"{used:,} of {count:,} experts in {groups_used:,} of {groups:,} groups")


def _check_phi(header: Header) -> None:
    n_head, n_head_kv, width = header.n_head, header.n_head_kv, header.key_length
    rotated = header.number("rope.dimension_count", width)
    sound = (
        0 < n_head_kv <= n_head
        and n_head % n_head_kv == 0
        and n_head * width == header.n_embd
        and header.value_length == width
        and 0 < rotated <= width
        and rotated % 2 == 0
        and header.number("expert_count") == 0
        and header.context_length > 0
    )
    if not sound:
        raise _unsound(
            header.path,
            f"{n_head:,} heads ({n_head_kv:,} for keys) of {width:,} and {header.value_length:,} (rotated: {rotated:,}) "
            f"in a width of {header.n_embd:,}",
        )
    names = {tensor.name for tensor in header.tensors}
    for i in range(header.n_layer):
        parts = {f"blk.{i}.attn_{part}.weight" for part in "qkv"}
        if f"blk.{i}.attn_qkv.weight" not in names and not parts <= names:
            raise _unsound(header.path, f"layer {i} has no blk.{i}.attn_qkv.weight")


def _check_vocabulary(header: Header) -> None:
    metadata, path = header.metadata, header.path
    model, tokens = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, Array) or not isinstance(tokens.raw, list) or not tokens or model in {"none", "no_vocab"}:
        raise _unsound(path, "it has no vocabulary")
    distinct = set(tokens.raw)
    if len(distinct) != len(tokens):
        raise _unsound(path, f"{len(tokens) - len(distinct):,} of its {len(tokens):,} tokens are there twice")
    if model == "llama":
        # a character that is no token is spelt in bytes, and a byte without a token throws past llama_tokenize
        for byte in range(256):
            if b"<0x%02X>" % byte not in distinct and bytes([byte]) not in distinct:
                raise _unsound(path, f"its vocabulary has no token for the byte 0x{byte:02X}")
    defaults = {"llama": {"bos": 1, "eos": 2}, "gpt2": {"bos": 11, "eos": 11}}.get(str(model), {})
    for name in ("bos", "eos"):
        said = metadata.get(f"tokenizer.ggml.{name}_token_id", -1)
        known = any(isinstance(i, int) and 0 <= i < len(tokens) for i in (said, defaults.get(name)))
        if metadata.get(f"tokenizer.ggml.add_{name}_token", name == "bos" and model == "llama") is True and not known:
            raise _unsound(path, f"it adds a token of {name}, and has none")
