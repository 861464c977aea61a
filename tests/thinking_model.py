"""A phi3-architecture GGUF that thinks before it answers, as it was told to.

Its layers are zeros, so each token depends on the one before it alone. Each token's embedding is a dimension of its own,
and the output matrix says which token follows it: the model writes one chain of tokens, with all but certainty. What
follows a token outside of the chain is any token that stands for text.
"""

from __future__ import annotations

import itertools

import numpy as np
from gguf import GGUFWriter, TokenType

WIDTH, FEED_FORWARD, HEADS = 384, 32, 4
CONTEXT = 4096
CONTROL = ["<s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{{ '<|assistant|>' }}"
)
#: What it writes: thoughts and an answer, with tags that are one token or several.
THINKS = ["<think>", "Hm", ",", "▁five", ".", "</think>", "Five", "!"]
SPELLS = ["<th", "ink>", "Hm", ",", "▁five", ".", "</", "thi", "nk>", "Five", "!"]
_CERTAIN = 25.0  # the logit of the token that follows, where the others have 0


def write_thinking_model(
    path,
    says=THINKS,
    *,
    controls=("<think>", "</think>"),
    kind=TokenType.CONTROL,
    template=TEMPLATE,
    name="",
    after=None,
):
    """Write a model.

    Args:
        says: the tokens of its answer, all different; the end follows them.
        controls: those of them that stand for no text, as tags may.
        kind: what the file calls these.
        template: the chat template.
        name: what the file calls the model.
        after: the token that the answer follows; ``<|assistant|>`` where left out.
    """
    letters = [f"<0x{byte:02X}>" for byte in range(256)]
    words = [text for text in says if text not in (*controls, *letters)]
    # SentencePiece puts a word together from one letter after another.
    pieces = dict.fromkeys(text[: end + 1] for text in words for end in range(1, len(text)))
    pieces |= dict.fromkeys(text for text in words if len(text) == 1)
    tokens = ["<unk>", *CONTROL, *controls, *letters, "▁", *pieces]
    types = [TokenType.UNKNOWN] + [TokenType.CONTROL] * len(CONTROL) + [kind] * len(controls) + [TokenType.BYTE] * 256
    types += [TokenType.NORMAL] * (len(tokens) - len(types))

    writer = GGUFWriter(path, "phi3")
    writer.add_name(name or "stand-in")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_block_count(1)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_add_space_prefix(False)
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(place) for place in range(len(tokens))])
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(tokens.index("<|endoftext|>"))
    writer.add_eot_token_id(tokens.index("<|end|>"))
    writer.add_unk_token_id(0)
    writer.add_chat_template(template)

    embedding = np.eye(len(tokens), WIDTH, dtype=np.float32)
    embedding[:, -1] = 1  # all agree in one dimension, by which the output forbids what stands for no text
    output = np.zeros((len(tokens), WIDTH), dtype=np.float32)
    length = np.sqrt(WIDTH / 2)  # of a normalised embedding's two dimensions
    output[:, -1] = [0 if kind in (TokenType.NORMAL, TokenType.BYTE) else -2 * _CERTAIN / length for kind in types]
    chain = [after or "<|assistant|>", *says, "<|end|>"]
    if after is None:
        chain += ["<0x0A>", says[-2]]  # a closing tag that is written for the model ends with a line break
    for before, following in itertools.pairwise(chain):
        output[tokens.index(following), tokens.index(before)] += 4 * _CERTAIN / length

    tensors = {
        "token_embd.weight": embedding,
        "output.weight": output,
        "output_norm.weight": np.ones(WIDTH, np.float32),
        "blk.0.attn_norm.weight": np.ones(WIDTH, np.float32),
        "blk.0.ffn_norm.weight": np.ones(WIDTH, np.float32),
        "blk.0.attn_qkv.weight": np.zeros((3 * WIDTH, WIDTH), np.float32),
        "blk.0.attn_output.weight": np.zeros((WIDTH, WIDTH), np.float32),
        "blk.0.ffn_up.weight": np.zeros((2 * FEED_FORWARD, WIDTH), np.float32),
        "blk.0.ffn_down.weight": np.zeros((WIDTH, FEED_FORWARD), np.float32),
    }
    for tensor, array in tensors.items():
        writer.add_tensor(tensor, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
