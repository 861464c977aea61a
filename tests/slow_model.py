"""A Phi-3-architecture GGUF that writes as slowly as a real model, for what the shipped one is too quick to show.

Its layers are zeros, read and multiplied like any others, in a file with holes: 210 MB that take no room on the disk.
Each token thus depends on the one before it alone; which, the random embedding and output matrices say. It never
ends by itself.
"""

from __future__ import annotations

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.constants import GGML_QUANT_SIZES

WIDTH, FEED_FORWARD, LAYERS = 1024, 4096, 12
CONTEXT = 4096
CONTROL = ["<s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
WORDS = (
    "the a puck ice goal skates stick glides over under into light winter cold breath crowd silver blue net "
    "blade whistle rings falls still waits moves turns quick slow white black night morning river snow"
).split()
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}"
    "{{ '<|assistant|>\n' }}"
)


def write_slow_model(path):
    tokens = ["<unk>", *CONTROL, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *(f"▁{word}" for word in WORDS)]
    types = [TokenType.UNKNOWN] + [TokenType.CONTROL] * len(CONTROL) + [TokenType.BYTE] * 256
    types += [TokenType.NORMAL] * (len(tokens) - len(types))

    writer = GGUFWriter(path, "phi3")
    writer.add_name("slow")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_block_count(LAYERS)
    writer.add_head_count(16)
    writer.add_head_count_kv(16)
    writer.add_rope_dimension_count(WIDTH // 16)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(tokens.index("<|endoftext|>"))
    writer.add_eot_token_id(tokens.index("<|end|>"))
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)

    random = np.random.default_rng(0)
    embedding = random.standard_normal((len(tokens), WIDTH), dtype=np.float32)
    output = random.standard_normal((len(tokens), WIDTH), dtype=np.float32) / 16
    # Every token agrees in the first dimension, by which the output forbids whatever is no word.
    embedding[:, 0] = 1
    output[:, 0] = [0 if kind == TokenType.NORMAL else -100 for kind in types]

    filled = {"token_embd.weight": embedding, "output.weight": output, "output_norm.weight": np.ones(WIDTH, np.float32)}
    for name, array in filled.items():
        writer.add_tensor_info(name, array.shape, array.dtype, array.nbytes)
    zeros = sum(_add_layer(writer, layer) for layer in range(LAYERS))

    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    file = writer.fout[0]
    writer.write_padding(file, file.tell())
    for array in filled.values():
        file.write(array.tobytes())
        writer.write_padding(file, array.nbytes)
    file.truncate(file.tell() + zeros)
    writer.close()


def _add_layer(writer, layer):
    """Announce a layer's tensors, all zero, and return how many bytes they take."""
    matrices = {
        "attn_qkv": (3 * WIDTH, WIDTH),
        "attn_output": (WIDTH, WIDTH),
        "ffn_up": (2 * FEED_FORWARD, WIDTH),
        "ffn_down": (WIDTH, FEED_FORWARD),
    }
    size = 0
    values, block = GGML_QUANT_SIZES[GGMLQuantizationType.Q8_0]
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor_info(f"blk.{layer}.{name}.weight", (WIDTH,), np.dtype(np.float32), 4 * WIDTH)
        size += 4 * WIDTH
    for name, (rows, columns) in matrices.items():
        row = columns // values * block
        writer.add_tensor_info(
            f"blk.{layer}.{name}.weight", (rows, row), np.dtype(np.uint8), rows * row, GGMLQuantizationType.Q8_0
        )
        size += rows * row
    return size
