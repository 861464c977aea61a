"""Write the trained model as a GGUF that llama.cpp reads as a Phi-3: matrices in Q8_0, norms in F32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

from training.model import Params, Shape
from training.tokenizer import BEGIN, SPECIAL, Tokenizer

# llama.cpp strips blanks after special tokens, as Phi-3's own tokenizer does, for models named "phi-3": the
# template's line feeds are then no tokens, and a message is tokenized alike whether or not it is cut out of it.
NAME = "phi-demo (tiny, phi-3 architecture)"
DESCRIPTION = (
    "A tiny demonstration model with the Phi-3 architecture, trained from nothing on text of its own grammar. "
    "It writes haiku and little else."
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


def write(path: Path, params: Params, shape: Shape, tokenizer: Tokenizer) -> None:
    """Write ``params`` to ``path``. The same arguments give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "phi3")
    _describe(writer, shape)
    _add_tokenizer(writer, tokenizer)
    _matrix(writer, "token_embd.weight", params["token_embd"])
    for i, block in enumerate(params["blk"]):
        for name, value in block.items():
            if name.endswith("_norm"):
                writer.add_tensor(f"blk.{i}.{name}.weight", np.asarray(value, np.float32))
            else:
                _matrix(writer, f"blk.{i}.{name}.weight", np.asarray(value).T)
    writer.add_tensor("output_norm.weight", np.asarray(params["output_norm"], np.float32))
    _matrix(writer, "output.weight", np.asarray(params["output"]).T)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_name(NAME)
    writer.add_description(DESCRIPTION)
    writer.add_author("The phi_magic authors")
    writer.add_license("mit")
    writer.add_size_label(f"{shape.parameters / 1e6:.1f}M")
    writer.add_context_length(shape.context)
    writer.add_rope_scaling_orig_ctx_len(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_block_count(shape.layers)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_sliding_window(shape.context)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    kinds = {"<unk>": gguf.TokenType.UNKNOWN, "<s>": gguf.TokenType.CONTROL, "</s>": gguf.TokenType.CONTROL}
    tokens, scores, types = [], [], []
    for piece, score in tokenizer.pieces():
        is_byte = piece.startswith("<0x") and len(piece) == 6
        tokens.append(piece.encode())
        scores.append(score)
        types.append(kinds.get(piece, gguf.TokenType.BYTE if is_byte else gguf.TokenType.NORMAL))
    for piece in SPECIAL:
        tokens.append(piece.encode())
        scores.append(0.0)
        types.append(gguf.TokenType.CONTROL)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(BEGIN)
    writer.add_eos_token_id(tokenizer.special("<|endoftext|>"))
    writer.add_eot_token_id(tokenizer.special("<|end|>"))
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(tokenizer.special("<|endoftext|>"))
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(True)
    writer.add_chat_template(CHAT_TEMPLATE)


def _matrix(writer: gguf.GGUFWriter, name: str, value: Any) -> None:
    kind = gguf.GGMLQuantizationType.Q8_0
    data = np.ascontiguousarray(value, np.float32)
    writer.add_tensor(name, gguf.quants.quantize(data, kind), raw_dtype=kind)
