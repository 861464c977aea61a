"""A GGUF with the exact shape, tokenizer and quantisation mix of Phi-3-mini-4k-instruct-q4.gguf, and random weights.

Speed and memory depend on shapes and types only, so it stands in for the published file of 2.39 GB. But drawing a token
takes longer where all are about as likely, so the last norm makes the logits as far apart as a trained model's.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFReader, GGUFValueType, GGUFWriter
from gguf.constants import GGML_QUANT_SIZES
from numpy.typing import NDArray

VOCABULARY = "models/ggml-vocab-phi-3.gguf"  #: in the sources
_SPREAD = 8.0  # of the output norm: with it the next token has five bits, and without it fourteen


@dataclass(frozen=True)
class Shape:
    """Phi-3-mini's; the matrices' columns must be multiples of 256."""

    layers: int = 32
    embed: int = 3072
    feed_forward: int = 8192
    heads: int = 32


#: Written and run within seconds.
SMALL = Shape(layers=2, embed=512, feed_forward=1024, heads=8)


def sources(folder: Path) -> Path:
    """llama.cpp's sources, from the source distribution of the llama-cpp-python that is installed; fetched by pip once."""
    name = f"llama_cpp_python-{version('llama-cpp-python')}"
    tree = folder / name / "vendor" / "llama.cpp"
    if not tree.is_dir():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-python"]
        wanted = f"llama-cpp-python=={version('llama-cpp-python')}"
        subprocess.run([*pip, "--dest", str(folder), wanted], check=True)
        with tarfile.open(folder / f"{name}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return tree


def full_size(folder: Path) -> Path:
    """The full-size stand-in in a folder, written there unless it is there already."""
    path = folder / "phi-3-mini-stand-in.gguf"
    if not path.exists():
        unfinished = path.with_suffix(".part")
        write(sources(folder) / VOCABULARY, unfinished)
        unfinished.rename(path)
    return path


def write(vocabulary: Path, path: Path, shape: Shape | None = None) -> None:
    """Write a model.

    Args:
        vocabulary: a Phi-3 GGUF whose tokenizer and template are taken.
        shape: Phi-3-mini's where left out.
    """
    shape = shape or Shape()
    writer = GGUFWriter(path, "phi3")
    n_vocab = _metadata(writer, vocabulary, shape)
    tensors = _tensors(shape, n_vocab)
    for name, (rows, columns, kind) in tensors.items():
        if kind is Kind.F32:
            writer.add_tensor_info(name, (rows,), np.dtype(np.float32), 4 * rows)
        else:
            width = _row_bytes(columns, kind)
            writer.add_tensor_info(name, (rows, width), np.dtype(np.uint8), rows * width, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    random = np.random.default_rng(0)
    for name, (rows, columns, kind) in tensors.items():  # one at a time: together they are as large as the file
        values = _values(rows, columns, kind, random)
        writer.write_tensor_data(values * np.float32(_SPREAD) if name == "output_norm.weight" else values)
    writer.close()


def _metadata(writer: GGUFWriter, vocabulary: Path, shape: Shape) -> int:
    """Copy the vocabulary's metadata, with the shape's own figures in place; how many tokens there are."""
    ours = {
        "phi3.block_count": shape.layers,
        "phi3.embedding_length": shape.embed,
        "phi3.feed_forward_length": shape.feed_forward,
        "phi3.attention.head_count": shape.heads,
        "phi3.attention.head_count_kv": shape.heads,
        "phi3.rope.dimension_count": shape.embed // shape.heads,
        "phi3.attention.sliding_window": 2047,
        "general.file_type": 15,
    }
    fields = GGUFReader(vocabulary).fields
    for key, field in fields.items():
        if key.startswith("GGUF.") or key == "general.architecture" or key in ours:
            continue
        if field.types[0] == GGUFValueType.ARRAY:
            writer.add_array(key, field.contents())
        else:
            writer.add_key_value(key, field.contents(), field.types[0])
    for key, value in ours.items():
        writer.add_uint32(key, value)
    return len(fields["tokenizer.ggml.tokens"].data)


def _tensors(shape: Shape, n_vocab: int) -> dict[str, tuple[int, int, Kind]]:
    """Rows, columns (0 for a vector) and type of every tensor, in the file's order."""
    embed, feed_forward = shape.embed, shape.feed_forward
    norm = (embed, 0, Kind.F32)
    tensors = {"token_embd.weight": (n_vocab, embed, Kind.Q4_K)}
    for layer in range(shape.layers):
        # Q4_K_M keeps the first and last eighth of the layers, and every third between, at six bits.
        eighth = shape.layers // 8
        more_bits = layer < eighth or layer >= 7 * shape.layers // 8 or (layer - eighth) % 3 == 2
        tensors |= {
            f"blk.{layer}.attn_norm.weight": norm,
            f"blk.{layer}.attn_qkv.weight": (3 * embed, embed, Kind.Q5_K),
            f"blk.{layer}.attn_output.weight": (embed, embed, Kind.Q4_K),
            f"blk.{layer}.ffn_norm.weight": norm,
            f"blk.{layer}.ffn_up.weight": (2 * feed_forward, embed, Kind.Q4_K),
            f"blk.{layer}.ffn_down.weight": (embed, feed_forward, Kind.Q6_K if more_bits else Kind.Q4_K),
        }
    return tensors | {"output_norm.weight": norm, "output.weight": (n_vocab, embed, Kind.Q6_K)}


def _row_bytes(columns: int, kind: Kind) -> int:
    values, size = GGML_QUANT_SIZES[kind]
    return int(columns // values * size)


def _values(
    rows: int, columns: int, kind: Kind, random: np.random.Generator
) -> NDArray[np.float32] | NDArray[np.uint8]:
    """Ones for a vector; else quantised rows of mean 0 and deviation about 0.02, as ordinary weights have."""
    if kind is Kind.F32:
        return np.ones(rows, dtype=np.float32)
    values, size = GGML_QUANT_SIZES[kind]
    count = rows * columns // values
    block = random.integers(0, 256, size=(min(count, 4096), size), dtype=np.uint8)
    if kind == Kind.Q6_K:  # scale * int8 * (0..63 - 32)
        block[:, -2:] = _half(0.02 / 1400)
    else:  # scale * 6 bits * (0..15 or 0..31) - minimum * 6 bits
        middle, deviation = {Kind.Q4_K: (7.5, 258), Kind.Q5_K: (15.5, 530)}[kind]
        block[:, 0:2], block[:, 2:4] = _half(0.02 / deviation), _half(0.02 / deviation * middle)
    repeats = -(-count // len(block))
    return np.tile(block, (repeats, 1))[:count].reshape(rows, _row_bytes(columns, kind))


def _half(number: float) -> NDArray[np.uint8]:
    return np.frombuffer(np.float16(number).tobytes(), dtype=np.uint8)
