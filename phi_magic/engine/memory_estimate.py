"""Estimate the memory that a model will take, before anything is allocated.

Weights count in full although they are mapped: a mapped page belongs to the file and the kernel may drop it, but every
token reads every weight, so a machine that cannot hold them all reads the disk for each token. A cgroup that runs out
of memory ends the process before it comes to that. Pages of other files count as free, since the system can drop them.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass

from ..gguf.header import TENSOR_TYPES, Header
from ..machine import Budget, show_size
from ..paths import show_path

CELLS = 256  # llama.cpp rounds the cells of a sequence up to a multiple of it
# What llama.cpp copies into an order that suits the processor (ggml-cpu/repack.cpp), if the rows come in eights
REPACKED_X86 = {"Q4_0", "Q4_K", "IQ4_NL", "MXFP4", "Q2_K"}  # AVX2; Q2_K only with AVX-512
REPACKED_ARM = {"Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "IQ4_NL", "MXFP4"}
# Bits per weight of the mixtures that a message can suggest, best first
SMALLER = {"Q8_0": 8.5, "Q6_K": 6.6, "Q5_K_M": 5.7, "Q4_K_M": 4.85, "Q3_K_M": 3.9, "Q2_K": 3.2}


@dataclass(frozen=True)
class Need:
    """Bytes that a model and a context of `n_ctx` tokens take."""

    weights: int
    repack: int
    cache: int
    compute: int
    n_ctx: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.repack + self.cache + self.compute


def estimate_memory(
    header: Header,
    *,
    n_ctx: int,
    key_type: str = "f16",
    value_type: str = "f16",
    n_batch: int = 512,
    repacked: bool = False,
    flash_attention: bool = False,
    sequences: int = 1,
) -> Need:
    """The memory that loading the model and a context will take on a CPU, weights mapped.

    `n_ctx` is the tokens of all `sequences` together, each with an equal share; `n_batch` is the tokens in one pass.
    The sizes follow llama.cpp's buffers: the cache is exact, the compute buffer is the widest place of the graph.
    """
    cells = -(-n_ctx // sequences // CELLS) * CELLS  # of one sequence
    batch = min(n_batch, cells * sequences)
    heads = header.n_head_kv
    key_width, value_width = heads * header.key_length, heads * header.value_length
    cache = header.n_layer * cells * sequences * (_row(key_type, key_width) + _row(value_type, value_width))
    width = 4 * header.n_embd
    mask = (2 if flash_attention else 4) * cells
    if flash_attention:
        attention = 5 * width + 2 * 4 * value_width
        residual, transposed = 4 * width, 0
    else:
        attention = 4 * cells * header.n_head + 3 * width
        residual, transposed = 3 * width, 8 * value_width  # the index of every value in the transposed cache
    widest = max(
        mask + transposed + attention,
        mask + transposed + 3 * 4 * header.n_ff + residual,
        (mask + 2 * width if flash_attention else 0) + 4 * header.n_vocab + 2 * width,
    )
    # a product's right-hand side is turned into the type of its left one: the attention weights into the values'
    converted = max(0 if flash_attention else 2 * cells * header.n_head, 2 * header.n_ff)
    outputs = sequences * 4 * header.n_vocab
    fixed = 150 * header.n_vocab + (2 << 20)  # the vocabulary's tables; graph, threads and buffers' own
    compute = batch * (widest + converted) + outputs + fixed
    return Need(header.weight_bytes, _repack(header) if repacked else 0, cache, compute, n_ctx)


def refusal(need: Need, budget: Budget, header: Header) -> str:
    """Say in one line how much the model needs, how much is free, and what would fit."""
    parts = {"weights": need.weights, "repacked": need.repack, "context": need.cache, "buffers": need.compute}
    figures = ", ".join(f"{name} {show_size(size)}" for name, size in parts.items() if size)
    return (
        f"{header.name or show_path(header.path)} needs {show_size(need.total)} ({figures}) and there "
        f"{'is' if budget.bytes > 0 else 'is not even'} {show_size(max(budget.bytes, 0))} ({budget.source}); "
        f"what would fit: {' or '.join(_what_fits(need, budget, header))}"
    )


def _what_fits(need: Need, budget: Budget, header: Header) -> Iterator[str]:
    spare = budget.bytes - need.weights - need.repack - need.compute
    n_ctx = int(need.n_ctx * spare / need.cache) // CELLS * CELLS if need.cache else 0
    if n_ctx >= CELLS:
        yield f"n_ctx={n_ctx}"
    elif need.repack and need.total - need.repack <= budget.bytes:
        yield "profile='memory'"
    else:
        for name, bits in SMALLER.items():
            weights = int(header.n_params * bits / 8)
            if weights < 0.95 * need.weights and weights + need.total - need.weights <= budget.bytes:
                yield f"a {name} file of it ({show_size(weights)})"
                break
    yield "the model `demo`"


def _row(type_name: str, width: int) -> int:
    sizes = {name: (block, nbytes) for name, block, nbytes in TENSOR_TYPES.values()}
    block, nbytes = sizes[type_name.upper()]
    return -(-width // block) * nbytes


def _repack(header: Header) -> int:
    arm = platform.machine().lower() in {"arm64", "aarch64"}
    kinds = REPACKED_ARM if arm else REPACKED_X86
    matrices = [
        tensor
        for tensor in header.tensors
        if len(tensor.shape) == 2 and tensor.type in kinds and tensor.shape[1] % 8 == 0
    ]
    return sum(tensor.nbytes for tensor in matrices if tensor.name != "token_embd.weight")
