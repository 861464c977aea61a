"""GGUF files of many architectures with random weights, small enough to be written and run within a test.

Shapes, tensors and metadata are those that llama.cpp asks of the architecture; the vocabulary is a little one with the
tokenizer that such models have. What such a model answers is noise, but noise that depends on every token before it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import quantize

WIDTH, FEED_FORWARD, HEADS, KEY_HEADS, HEAD, EXPERTS = 128, 256, 4, 2, 32, 4
INNER, STATE = 2 * WIDTH, 16  # of mamba
CONTEXT = 4096
#: Tokens of context up to which the short RoPE factors of :func:`write` with ``border`` apply.
BORDER = 512
CONTROL = ["<s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
WORDS = "the a puck ice goal skates stick glides over under light winter cold breath silver blue net blade".split()
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{{ '<|assistant|>' }}"
)
STRING, ARRAY, SIZES = 8, 9, {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # GGUF's types
_SPREAD = 4.0  # of the logits: the next token has a few bits, as with a trained model

QUERY, KEYS = HEADS * HEAD, KEY_HEADS * HEAD
NORMS = {"attn_norm.weight": (WIDTH,), "ffn_norm.weight": (WIDTH,)}
ATTENTION = {
    "attn_q.weight": (QUERY, WIDTH),
    "attn_k.weight": (KEYS, WIDTH),
    "attn_v.weight": (KEYS, WIDTH),
    "attn_output.weight": (WIDTH, QUERY),
}
ATTENTION_BIAS = {"attn_q.bias": (QUERY,), "attn_k.bias": (KEYS,), "attn_v.bias": (KEYS,)}
HEAD_NORMS = {"attn_q_norm.weight": (HEAD,), "attn_k_norm.weight": (HEAD,)}
GATED = {
    "ffn_gate.weight": (FEED_FORWARD, WIDTH),
    "ffn_up.weight": (FEED_FORWARD, WIDTH),
    "ffn_down.weight": (WIDTH, FEED_FORWARD),
}
MIXED = {
    "ffn_gate_inp.weight": (EXPERTS, WIDTH),
    "ffn_gate_exps.weight": (EXPERTS, FEED_FORWARD, WIDTH),
    "ffn_up_exps.weight": (EXPERTS, FEED_FORWARD, WIDTH),
    "ffn_down_exps.weight": (EXPERTS, WIDTH, FEED_FORWARD),
}
MIXED_BIAS = {
    "ffn_gate_inp.bias": (EXPERTS,),
    "ffn_gate_exps.bias": (EXPERTS, FEED_FORWARD),
    "ffn_up_exps.bias": (EXPERTS, FEED_FORWARD),
    "ffn_down_exps.bias": (EXPERTS, WIDTH),
}
POST_NORMS = {"post_attention_norm.weight": (WIDTH,), "post_ffw_norm.weight": (WIDTH,)}
LLAMA = NORMS | ATTENTION | GATED
WINDOW = {"attention.sliding_window": 128}


@dataclass(frozen=True)
class Architecture:
    """What a stand-in is made of: tensors of a layer, and of the whole model beside embedding, norm and output."""

    name: str
    layer: Mapping[str, tuple[int, ...]]
    pre: str | None = None  #: the pre-tokenizer of byte-level BPE; None for SentencePiece
    whole: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    said: Mapping[str, int] = field(default_factory=dict)  #: metadata under the architecture's name
    tied: bool = False  #: whether the embedding is the output matrix too
    layers: int = 2


OUTPUT_BIAS = {"output_norm.bias": (WIDTH,), "output.bias": (0,)}  # 0: the size of the vocabulary
PHI3 = {
    "attn_qkv.weight": (QUERY + 2 * KEYS, WIDTH),
    "attn_output.weight": (WIDTH, QUERY),
    "ffn_up.weight": (2 * FEED_FORWARD, WIDTH),
    "ffn_down.weight": (WIDTH, FEED_FORWARD),
}
PHI2 = {
    "attn_norm.weight": (WIDTH,),
    "attn_norm.bias": (WIDTH,),
    "attn_qkv.weight": (QUERY + 2 * KEYS, WIDTH),
    "attn_qkv.bias": (QUERY + 2 * KEYS,),
    "attn_output.weight": (WIDTH, QUERY),
    "attn_output.bias": (WIDTH,),
    "ffn_up.weight": (FEED_FORWARD, WIDTH),
    "ffn_up.bias": (FEED_FORWARD,),
    "ffn_down.weight": (WIDTH, FEED_FORWARD),
    "ffn_down.bias": (WIDTH,),
}
PHIMOE = NORMS | ATTENTION | ATTENTION_BIAS | MIXED
PHIMOE |= {"attn_norm.bias": (WIDTH,), "ffn_norm.bias": (WIDTH,), "attn_output.bias": (WIDTH,)}
GPT_OSS = ATTENTION | ATTENTION_BIAS | MIXED | MIXED_BIAS
GPT_OSS |= {
    "attn_norm.weight": (WIDTH,),
    "post_attention_norm.weight": (WIDTH,),
    "attn_output.bias": (WIDTH,),
    "attn_sinks.weight": (HEADS,),
}
EXPERT_COUNTS = {"expert_count": EXPERTS, "expert_used_count": 2}

ARCHITECTURES = {
    "phi3": Architecture("phi3", NORMS | PHI3),
    "phi3, BPE": Architecture("phi3", NORMS | PHI3, "gpt-4o", tied=True),
    "llama, SentencePiece": Architecture("llama", LLAMA),
    "llama, BPE": Architecture("llama", LLAMA, "llama-bpe"),
    "qwen2": Architecture("qwen2", LLAMA | ATTENTION_BIAS, "qwen2"),
    "qwen3": Architecture("qwen3", LLAMA | HEAD_NORMS, "qwen2"),
    "gemma2": Architecture("gemma2", LLAMA | POST_NORMS, said=WINDOW, tied=True),
    "gemma3": Architecture("gemma3", LLAMA | POST_NORMS | HEAD_NORMS, said=WINDOW, tied=True, layers=6),
    "gemma4": Architecture(
        "gemma4",
        LLAMA | POST_NORMS | HEAD_NORMS,
        whole={"rope_freqs.weight": (HEAD // 2,)},
        said=WINDOW
        | {"attention.key_length_swa": HEAD, "attention.value_length_swa": HEAD}
        | {"embedding_length_per_layer_input": 0},
        tied=True,
    ),
    "phi2": Architecture("phi2", PHI2, "phi-2", OUTPUT_BIAS),
    "phimoe": Architecture("phimoe", PHIMOE, whole=OUTPUT_BIAS, said=EXPERT_COUNTS),
    "gpt-oss": Architecture(
        "gpt-oss", GPT_OSS, "gpt-4o", said=WINDOW | EXPERT_COUNTS | {"expert_feed_forward_length": FEED_FORWARD}
    ),
}

#: Refused: a recurrent model keeps a state instead of keys and values.
MAMBA = Architecture(
    "mamba",
    {
        "attn_norm.weight": (WIDTH,),
        "ssm_in.weight": (2 * INNER, WIDTH),
        "ssm_conv1d.weight": (INNER, 4),
        "ssm_conv1d.bias": (INNER,),
        "ssm_x.weight": (8 + 2 * STATE, INNER),
        "ssm_dt.weight": (INNER, 8),
        "ssm_dt.bias": (INNER,),
        "ssm_a": (INNER, STATE),
        "ssm_d": (INNER,),
        "ssm_out.weight": (WIDTH, INNER),
    },
    said={"ssm.conv_kernel": 4, "ssm.inner_size": INNER, "ssm.state_size": STATE, "ssm.time_step_rank": 8},
)


def write(path, architecture, *, border=0, template=TEMPLATE, vocabulary=None):
    """Write a stand-in; with a border it has two sets of RoPE factors, the long ones for contexts beyond the border.

    ``vocabulary`` is a GGUF whose tokenizer it gets, instead of a little one.
    """
    writer = GGUFWriter(path, architecture.name)
    if vocabulary:
        tokenizer, count = _tokenizer_of(vocabulary)
    else:
        count = len(_add_vocabulary(writer, architecture.pre))
    _add_metadata(writer, architecture)
    if template is not None:
        writer.add_chat_template(template)
    random = np.random.default_rng(0)

    def add(name, shape):
        shape = tuple(size or count for size in shape)
        if len(shape) > 1 and shape[-1] % 32 == 0 and name.endswith(".weight"):
            weights = random.standard_normal(shape, dtype=np.float32) / np.sqrt(shape[-1])
            weights = weights * _SPREAD if name in {"output.weight", "token_embd.weight"} else weights
            kind = GGMLQuantizationType.Q8_0
            writer.add_tensor(name, quantize(weights, kind), raw_dtype=kind)
        elif "norm.weight" in name:
            writer.add_tensor(name, np.ones(shape, dtype=np.float32))
        else:
            writer.add_tensor(name, random.standard_normal(shape, dtype=np.float32) / 8)

    add("token_embd.weight", (0, WIDTH))
    add("output_norm.weight", (WIDTH,))
    if not architecture.tied:
        add("output.weight", (0, WIDTH))
    for name, shape in architecture.whole.items():
        add(name, shape)
    for layer in range(architecture.layers):
        for name, shape in architecture.layer.items():
            add(f"blk.{layer}.{name}", shape)
    if border:
        writer.add_rope_scaling_orig_ctx_len(border)
        writer.add_tensor("rope_factors_long.weight", np.linspace(1, 32, HEAD // 2, dtype=np.float32))
        writer.add_tensor("rope_factors_short.weight", np.ones(HEAD // 2, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    if vocabulary:
        _insert(path, tokenizer)


def _tokenizer_of(path):
    """The metadata of a GGUF's tokenizer, less the chat template, as they stand in the file; and how many tokens it has.

    They are copied as bytes: gguf reads a quarter of a million tokens in a minute.
    """
    data = path.read_bytes()
    at, found, count = 24, [], 0
    for _ in range(struct.unpack_from("<Q", data, 16)[0]):
        start = at
        (length,) = struct.unpack_from("<Q", data, at)
        name = data[at + 8 : at + 8 + length].decode()
        kind, at = struct.unpack_from("<I", data, at + 8 + length)[0], at + 12 + length
        if kind == ARRAY:
            (kind, items), at = struct.unpack_from("<IQ", data, at), at + 12
        else:
            items = 1
        for _ in range(items if kind == STRING else 0):
            at += 8 + struct.unpack_from("<Q", data, at)[0]
        at += items * SIZES.get(kind, 0)
        if name.startswith("tokenizer.") and name != "tokenizer.chat_template":
            found.append(data[start:at])
        count = items if name == "tokenizer.ggml.tokens" else count
    return found, count


def _insert(path, metadata):
    """Put more metadata before a GGUF's own; the padding behind them keeps the alignment of the tensors."""
    size = sum(map(len, metadata)) + 8 + len("padding") + 4 + 8
    padding = b"\0" * (-size % 32)
    metadata = [*metadata, struct.pack("<Q7sIQ", 7, b"padding", STRING, len(padding)) + padding]
    whole = path.read_bytes()
    (count,) = struct.unpack_from("<Q", whole, 16)
    path.write_bytes(whole[:16] + struct.pack("<Q", count + len(metadata)) + b"".join(metadata) + whole[24:])


def _add_metadata(writer, architecture):
    writer.add_name("stand-in")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_block_count(architecture.layers)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    if "rope.dimension_count" not in architecture.said:
        writer.add_rope_dimension_count(HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_layer_norm_eps(1e-5)
    if architecture.name == "gemma4":
        writer.add_sliding_window_pattern([layer % 2 == 0 for layer in range(architecture.layers)])
    for key, value in architecture.said.items():
        writer.add_uint32(f"{architecture.name}.{key}", value)


def _add_vocabulary(writer, pre):
    """Bytes, a few words and control tokens, as SentencePiece or byte-level BPE spells them; returns the tokens."""
    blank = "▁" if pre is None else "\u0120"
    # The words, and the beginnings that a word is put together from, one letter after another.
    merges = list(dict.fromkeys(f"{blank}{word[:end]} {word[end]}" for word in WORDS for end in range(len(word))))
    merged = [merge.replace(" ", "") for merge in merges]
    if pre is None:
        tokens = ["<unk>", *CONTROL, *(f"<0x{byte:02X}>" for byte in range(256)), blank, *merged]
        types = [TokenType.UNKNOWN] + [TokenType.CONTROL] * len(CONTROL) + [TokenType.BYTE] * 256
        writer.add_tokenizer_model("llama")
        writer.add_token_scores([-float(place) for place in range(len(tokens))])
    else:
        readable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
        letters = [*map(chr, readable), *(chr(256 + place) for place in range(256 - len(readable)))]
        tokens = ["<unk>", *CONTROL, *letters, *merged]
        types = [TokenType.CONTROL] * (1 + len(CONTROL))
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_merges(merges)
    types += [TokenType.NORMAL] * (len(tokens) - len(types))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_bos_token_id(tokens.index("<s>"))
    writer.add_eos_token_id(tokens.index("<|endoftext|>"))
    writer.add_eot_token_id(tokens.index("<|end|>"))
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(pre is None)
    return tokens
