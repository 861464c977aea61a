"""Read the header of a GGUF file, and refuse a file that llama.cpp could not load or that would end its process.

Some files end the process that runs llama.cpp: by an assertion, by an exception that nobody catches, by an allocation
without bound. The kernel would survive that, but the user would not learn the reason. So every file is read here first,
and a file that would end the process is refused in one line. What llama.cpp refuses by itself (a missing or misshapen
tensor) is left to it. The limits are those of llama.cpp's gguf.cpp, llama-model.cpp and llama-vocab.cpp as in
llama-cpp-python 0.3.36.
"""

from __future__ import annotations

import math
import os
import re
import stat
import struct
from pathlib import Path
from typing import Any

from ..errors import PhiError
from ..machine import show_size
from ..paths import show_path
from .header import Array, Header, Tensor
from .parsing import LARGEST_HEADER, parse, unsound

__all__ = ["Array", "Header", "Tensor", "read_header"]

FIRST_READ = 1 << 21  # bytes; holds the header of a model with 32,064 tokens
MOST_LAYERS = 512
# Tokenizers, with the special tokens that llama.cpp takes where the file names none (-1: none). The others that it knows
# are those of models that write no text (bert, t5) or keep a state (rwkv, plamo2), and of DNA (hybriddna).
TOKENIZERS = {"llama": {"bos": 1, "eos": 2}, "gpt2": {"bos": 11, "eos": 11}, "gemma4": {"bos": -1, "eos": -1}}

# Architectures that llama.cpp loads and that write no text from left to right
NOT_WRITERS = re.compile(r"clip|.*bert.*|t5|t5encoder|wavtokenizer-dec|gemma-embedding|llama-embed|dream|llada.*")


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read the header of the GGUF at `path`; refuse a file that llama.cpp could not load or that would end its process.

    Raises PhiError, one line that says what is wrong: no such file, a folder, something else than a GGUF, cut short,
    or impossible in itself.
    """
    path = Path(path)
    try:
        with _open(path) as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(FIRST_READ)
            _check_magic(path, head)
            while (header := parse(path, head, size)) is None:
                more = file.read(3 * len(head))
                if not more:
                    raise PhiError(
                        f"{show_path(path)}: {show_size(size)} and the header is not complete: "
                        "the download is incomplete; pull it again"
                    )
                if len(head) >= LARGEST_HEADER:
                    raise unsound(path, f"a header of more than {show_size(LARGEST_HEADER)}")
                head += more
    except OSError as error:
        raise PhiError(f"{show_path(path)}: cannot be read: {error.strerror or error}") from error
    _check(header)
    return header


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
    return path.open("rb")


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
    """Say what a file that is not a GGUF seems to be, and what to do about it."""
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


def _check(header: Header) -> None:
    """Refuse a file that llama.cpp would answer with an assertion, or with an exception that it does not catch."""
    path, metadata, architecture = header.path, header.metadata, header.architecture
    if not re.fullmatch(r"[\w.-]{1,64}", architecture):
        raise unsound(path, f"general.architecture is {architecture!r:.80}")
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
            raise unsound(path, f"{key!r:.80} is {value}")
    if metadata.get(f"{architecture}.rope.scaling.type", "none") not in {"none", "linear", "yarn", "longrope"}:
        raise unsound(path, f"{architecture}.rope.scaling.type is unknown")
    if metadata.get(f"{architecture}.attention.causal", True) is not True:
        raise PhiError(f"{show_path(path)}: not a causal language model; choose one that writes from left to right")
    _check_experts(header)
    if architecture in {"phi2", "phi3"}:
        _check_phi(header)
    for tensor in header.tensors:
        if len(tensor.shape) == 1 and tensor.type != "F32":
            raise unsound(path, f"the vector {tensor.name!r} has type {tensor.type}, not F32")
    _check_vocabulary(header)


def _check_layers(header: Header) -> None:
    blocks = [re.search(r"\bblk\.(\d{1,9})\.", tensor.name) for tensor in header.tensors]
    in_table = 1 + max((int(block[1]) for block in blocks if block), default=-1)
    if header.n_layer != in_table or not 1 <= in_table <= MOST_LAYERS:
        said = f"{header.architecture}.block_count is {header.n_layer:,}"
        raise unsound(header.path, f"{said} and the tensors are of {in_table:,} layers")
    if header.number("nextn_predict_layers") > header.n_layer:
        raise unsound(header.path, "more layers that predict ahead than layers")


def _check_experts(header: Header) -> None:
    count, used = header.number("expert_count"), header.number("expert_used_count")
    groups, groups_used = header.number("expert_group_count"), header.number("expert_group_used_count")
    sound = (
        count <= 1024
        and (0 < used <= count and groups < count if count else used == groups == 0)
        and (groups <= 1 or (count % groups == 0 and 0 < groups_used < groups))
    )
    if not sound:
        raise unsound(header.path, f"{used:,} of {count:,} experts in {groups_used:,} of {groups:,} groups")


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
        raise unsound(
            header.path,
            f"{n_head:,} heads ({n_head_kv:,} for keys) of {width:,} and {header.value_length:,} (rotated: {rotated:,}) "
            f"in a width of {header.n_embd:,}",
        )
    names = {tensor.name for tensor in header.tensors}
    for i in range(header.n_layer):
        parts = {f"blk.{i}.attn_{part}.weight" for part in "qkv"}
        if f"blk.{i}.attn_qkv.weight" not in names and not parts <= names:
            raise unsound(header.path, f"layer {i} has no blk.{i}.attn_qkv.weight")


def _check_vocabulary(header: Header) -> None:
    metadata, path = header.metadata, header.path
    kind, tokens = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.tokens")
    if kind not in TOKENIZERS:
        raise PhiError(f"{show_path(path)}: has a tokenizer of kind {kind!r:.40}, not one of {', '.join(TOKENIZERS)}")
    if metadata.get("tokenizer.ggml.pre") == "whitespace":  # throws past llama_tokenize on text that is no UTF-8
        raise PhiError(f"{show_path(path)}: has a tokenizer that drops blanks; choose a language model")
    if not isinstance(tokens, Array) or not isinstance(tokens.raw, list) or not tokens:
        raise unsound(path, "it has no vocabulary")
    # as llama.cpp keeps them: up to a NUL, and by number where nothing is left
    distinct = {token.partition(b"\0")[0] or b"[EMPTY_%d]" % i for i, token in enumerate(tokens.raw)}
    if len(distinct) != len(tokens):
        raise unsound(path, f"{len(tokens) - len(distinct):,} of its {len(tokens):,} tokens are there twice")
    if kind != "gpt2":
        # a character that is no token is spelt in bytes, and a byte without a token throws past llama_tokenize
        for byte in range(256):
            if b"<0x%02X>" % byte not in distinct and bytes([byte]) not in distinct:
                raise unsound(path, f"its vocabulary has no token for the byte 0x{byte:02X}")
    for name, default in TOKENIZERS[kind].items():
        said = metadata.get(f"tokenizer.ggml.{name}_token_id", -1)
        known = any(isinstance(i, int) and 0 <= i < len(tokens) for i in (said, default))
        # the beginning is added unless the file says otherwise
        if metadata.get(f"tokenizer.ggml.add_{name}_token", name == "bos") is not False and not known:
            raise unsound(path, f"it adds a token of {name}, and has none")
