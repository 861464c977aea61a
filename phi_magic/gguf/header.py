"""A GGUF file's head as data: its metadata and its table of tensors."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from ..errors import PhiError
from ..paths import show_path

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
    def rope_border(self) -> int | None:
        """The largest context, in tokens, for the short RoPE factors of a model that has long ones too; else None.

        llama.cpp uses the long factors, for every token, in a context that it allocates larger than this
        (``llama_model::get_rope_factors``).
        """
        if not any(tensor.name in {"rope_factors_long.weight", "rope_factors_short.weight"} for tensor in self.tensors):
            return None
        return self.number("rope.scaling.original_context_length", self.context_length)

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
