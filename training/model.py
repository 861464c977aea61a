"""The Phi-3 architecture in JAX: RMSNorm, rotary positions, fused query-key-value, SwiGLU with fused gate and up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

Params = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """The sizes of a model. Widths are multiples of 32, the block of Q8_0."""

    vocab: int = 3840
    width: int = 160
    layers: int = 5
    heads: int = 5
    feed_forward: int = 384
    context: int = 2048
    rope_base: float = 10000.0
    epsilon: float = 1e-5

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def parameters(self) -> int:
        block = 4 * self.width**2 + 3 * self.width * self.feed_forward + 2 * self.width
        return 2 * self.vocab * self.width + self.layers * block + self.width


def initialise(shape: Shape, key: Array) -> Params:
    """Random weights. Matrices are stored ``(in, out)``; the GGUF has them transposed."""
    width, hidden = shape.width, shape.feed_forward
    out_scale = (2 * shape.layers) ** -0.5  # keeps the residual stream's size independent of the depth
    keys = iter(jax.random.split(key, 2 + 4 * shape.layers))

    def matrix(rows: int, columns: int, scale: float = 1.0) -> Array:
        return jax.random.normal(next(keys), (rows, columns)) * (scale * rows**-0.5)

    return {
        "token_embd": jax.random.normal(next(keys), (shape.vocab, width)) * 0.5,
        "output": matrix(width, shape.vocab, 0.1),
        "output_norm": jnp.ones(width),
        "blk": [
            {
                "attn_norm": jnp.ones(width),
                "attn_qkv": matrix(width, 3 * width),
                "attn_output": matrix(width, width, out_scale),
                "ffn_norm": jnp.ones(width),
                "ffn_up": matrix(width, 2 * hidden),
                "ffn_down": matrix(hidden, width, out_scale),
            }
            for _ in range(shape.layers)
        ],
    }


def rms_norm(x: Array, weight: Array, epsilon: float) -> Array:
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + epsilon) * weight


def rotary(positions: Array, shape: Shape) -> tuple[Array, Array]:
    """Cosines and sines ``(..., head_width / 2)`` of the rotation at each position (RoPE, arXiv 2104.09864)."""
    half = shape.head_width // 2
    frequency = shape.rope_base ** (-jnp.arange(half) / half)
    angle = positions[..., None] * frequency
    return jnp.cos(angle), jnp.sin(angle)


def rotate(x: Array, cosine: Array, sine: Array) -> Array:
    """Rotate the pairs (i, i + half), the "NeoX" order of Phi-3. ``x``: ``(batch, time, heads, head_width)``."""
    first, second = jnp.split(x, 2, axis=-1)
    cosine, sine = cosine[:, :, None], sine[:, :, None]
    return jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


def hidden_states(params: Params, shape: Shape, tokens: Array, positions: Array, segments: Array) -> Array:
    """The normalised last hidden state ``(batch, time, width)``.

    ``tokens``, ``positions`` and ``segments`` are ``(batch, time)``: a row packs several documents, and a token
    attends only to what precedes it in its own document (its segment).
    """
    batch, time = tokens.shape
    cosine, sine = rotary(positions, shape)
    causal = jnp.tril(jnp.ones((time, time), bool))
    mask = causal[None] & (segments[:, :, None] == segments[:, None, :])
    bias = jnp.where(mask, 0.0, -1e9)[:, None]
    scale = shape.head_width**-0.5

    x = params["token_embd"][tokens]
    for block in params["blk"]:
        qkv = rms_norm(x, block["attn_norm"], shape.epsilon) @ block["attn_qkv"]
        query, key, value = (part.reshape(batch, time, shape.heads, -1) for part in jnp.split(qkv, 3, axis=-1))
        query, key = rotate(query, cosine, sine) * scale, rotate(key, cosine, sine)
        weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", query, key) + bias, axis=-1)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(batch, time, -1)
        x = x + mixed @ block["attn_output"]
        gate, up = jnp.split(rms_norm(x, block["ffn_norm"], shape.epsilon) @ block["ffn_up"], 2, axis=-1)
        x = x + (jax.nn.silu(gate) * up) @ block["ffn_down"]
    return rms_norm(x, params["output_norm"], shape.epsilon)
