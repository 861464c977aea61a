"""GGUF files written by hand, so that a test can make one that is wrong in exactly one place."""

from __future__ import annotations

import math
import struct

UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
F32, F16, Q8_0 = 0, 1, 8
SIZES = {F32: (1, 4), F16: (1, 2), Q8_0: (32, 34)}
EMBED, FEED_FORWARD, HEADS, LAYERS = 64, 96, 2, 2


def text(value):
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def value(item):
    """A value with its type: bool, int (32 bits), float, str, or a list of one of them."""
    if isinstance(item, bytes):  # encoded already, however wrongly
        return item
    kind, letter = {bool: (BOOL, "?"), int: (UINT32, "I"), float: (FLOAT32, "f"), str: (STRING, "")}.get(
        type(item), (ARRAY, "")
    )
    if kind == ARRAY:
        if item and isinstance(item[0], str | bytes):
            return struct.pack("<IIQ", ARRAY, STRING, len(item)) + b"".join(map(text, item))
        kind, letter = (FLOAT32, "f") if item and isinstance(item[0], float) else (INT32, "i")
        return struct.pack(f"<IIQ{len(item)}{letter}", ARRAY, kind, len(item), *item)
    return struct.pack("<I", kind) + (text(item) if kind == STRING else struct.pack(f"<{letter}", item))


def metadata():
    """What a sound little Phi-3 says of itself; a fresh dictionary, to be changed."""
    tokens = ["<unk>", "<s>", "<|end|>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁ice"]
    return {
        "general.architecture": "phi3",
        "general.name": "Little Phi",
        "general.license": "mit",
        "general.file_type": 7,
        "phi3.context_length": 512,
        "phi3.embedding_length": EMBED,
        "phi3.feed_forward_length": FEED_FORWARD,
        "phi3.block_count": LAYERS,
        "phi3.attention.head_count": HEADS,
        "phi3.attention.head_count_kv": HEADS,
        "phi3.rope.dimension_count": EMBED // HEADS,
        "phi3.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [0.0] * len(tokens),
        "tokenizer.ggml.token_type": [2, 3, 3, *[6] * 256, 1],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}",
    }


def byte_level():
    """The same with a vocabulary as phi-2 and phi-4 have it: bytes in GPT-2's letters, and merges of them."""
    said = metadata()
    del said["tokenizer.ggml.scores"]
    readable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in readable]
    letters = [*map(chr, readable), *(chr(256 + place) for place in range(len(others)))]
    merges = ["i c", "ic e", "\u0120 ice", "< |", "| >"]  # U+0120 stands for a blank
    tokens = ["<unk>", "<s>", "<|end|>", *letters, *(merge.replace(" ", "") for merge in merges)]
    return said | {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "phi-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [2, 3, 3] + [1] * (len(tokens) - 3),
        "tokenizer.ggml.merges": merges,
    }


def tensors(vocab=None):
    """The weights that go with `metadata`, or with so many tokens: (name, shape, type); a fresh list, to be changed."""
    vocab = vocab or len(metadata()["tokenizer.ggml.tokens"])
    table = [("token_embd.weight", (EMBED, vocab), Q8_0)]
    for layer in range(LAYERS):
        table += [
            (f"blk.{layer}.attn_norm.weight", (EMBED,), F32),
            (f"blk.{layer}.attn_qkv.weight", (EMBED, 3 * EMBED), Q8_0),
            (f"blk.{layer}.attn_output.weight", (EMBED, EMBED), Q8_0),
            (f"blk.{layer}.ffn_norm.weight", (EMBED,), F32),
            (f"blk.{layer}.ffn_up.weight", (EMBED, 2 * FEED_FORWARD), Q8_0),
            (f"blk.{layer}.ffn_down.weight", (FEED_FORWARD, EMBED), Q8_0),
        ]
    return [*table, ("output_norm.weight", (EMBED,), F32), ("output.weight", (EMBED, vocab), Q8_0)]


def gguf(said=None, table=None, *, version=3, keys=(), offsets=(), weights=True):
    """The bytes of a GGUF; `keys` are further (key, value) pairs, `offsets` what the table says instead of the truth."""
    pairs = [*(metadata() if said is None else said).items(), *keys]
    table = tensors() if table is None else table
    alignment = dict(pairs).get("general.alignment", 32)
    head = b"GGUF" + struct.pack("<IQQ", version, len(table), len(pairs))
    head += b"".join(text(key) + value(item) for key, item in pairs)
    at, data = 0, b""
    for index, (name, shape, kind) in enumerate(table):
        block, size = SIZES.get(kind, (1, 4))
        nbytes = math.prod(shape) // block * size if weights else 0
        offset = dict(offsets).get(index, at)
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        data += bytes(-(-nbytes // alignment) * alignment)
        at = len(data)
    return head + bytes(-len(head) % alignment) + data
