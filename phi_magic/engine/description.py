"""Describe a model without loading it."""

from __future__ import annotations

from ..generation.backend import ModelInfo
from ..generation.plan import Plan
from ..gguf.header import Array, Header
from .memory_estimate import estimate_memory

_LONGEST = 200  # characters of a value of the metadata


def describe(header: Header, plan: Plan, n_ctx: int) -> ModelInfo:
    """Return what a GGUF says of itself, and what memory it takes by a plan with a context of up to ``n_ctx`` tokens."""
    n_ctx = min(n_ctx, header.context_length or n_ctx)
    need = estimate_memory(
        header,
        n_ctx=n_ctx,
        key_type=plan.key_type,
        value_type=plan.value_type,
        repacked=plan.repack,
        flash_attention=plan.flash_attention,
    )
    facts = {
        "name": header.name or "",
        "licence": header.licence or "",
        "architecture": header.architecture,
        "parameters": f"{header.n_params:,}",
        "quantisation": header.file_type,
        "context": f"{header.context_length:,} tokens",
        "vocabulary": f"{header.n_vocab:,} tokens",
        "layers": f"{header.n_layer}, {header.n_embd} wide, {header.n_head} heads ({header.n_head_kv} for keys)",
        "chat template": header.chat_template or "none; the form `Instruct: … Output:` is used",
    }
    metadata = {key: _shown(value) for key, value in header.metadata.items() if key != "tokenizer.chat_template"}
    return ModelInfo(
        str(header.path), header.size, facts, metadata, plan, need.total, n_ctx, header.context_length, header.file_type
    )


def _shown(value: object) -> str:
    if isinstance(value, Array):
        return f"{len(value):,} values"
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"
