"""Choose the plan that suits a model and this machine."""

from __future__ import annotations

from dataclasses import replace

from ..generation.plan import Plan
from ..gguf.checks import Header
from ..machine import capacity, physical_cores
from .memory_estimate import estimate_memory

_SMALL = 32 * 2**20  # bytes of weights
_BLOCK = 32  # values of Q8_0 that share a scale
_USUAL = 4096  # tokens of context that a conversation may come to
_MOST = 0.8  # of the machine's memory, or of the GPU's


def choose(header: Header, *, profile: str = "auto", n_threads: int = 0, n_gpu_layers: int = -1) -> Plan:
    """Choose the plan for a model on this machine; docs/settings.md has the rule as a table. It depends on the machine
    and the model, never on how much memory is free at the moment: a re-run must choose the same plan. All layers go to
    a GPU where llama.cpp was built for one that has the memory for the model with all of its context, else none; a
    number of layers that was asked for is used as it is. A small model runs on one thread: its passes take less time
    than threads need to meet, and far less than that on a machine with other work to do.

    The keys of a large model's cache have 8 bits: decode and prefill are faster, and the divergence from 16-bit keys is
    no greater than the divergence that another order of rounding causes with 16-bit keys. Where a head's width is no
    multiple of 32, llama.cpp can quantise none of it.

    Args:
        profile: ``speed``, ``memory``, or ``auto``: ``memory`` where the model with all of its context would take more
            than most of the machine's, else neither.
    """
    from .llama import gpu_memory

    need, gpu = estimate_memory(header, n_ctx=_USUAL).total, gpu_memory()
    if n_gpu_layers < 0:
        n_gpu_layers = -1 if need <= _MOST * gpu else 0
    small = header.weight_bytes < _SMALL
    plan = Plan(
        n_threads=n_threads or (1 if small else physical_cores()),
        n_gpu_layers=n_gpu_layers if gpu else 0,
        key_type="q8_0" if _quantises(header.key_length) and not (small or gpu) else "f16",
    )
    if profile == "auto" and need > _MOST * capacity():
        profile = "memory"
    if profile == "memory" and _quantises(header.key_length) and _quantises(header.value_length):
        # flash attention makes a quantised cache of values possible
        return replace(plan, flash_attention=True, key_type="q8_0", value_type="q8_0")
    if profile == "speed":  # weights that are read lie in larger memory pages than mapped ones, but reading takes time
        return replace(plan, mmap=False)
    return plan


def _quantises(width: int) -> bool:
    return width % _BLOCK == 0
