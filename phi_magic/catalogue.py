"""The models that there are for this machine: known by name, in the hub's cache, loaded; and what each says of itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .engine.memory_estimate import estimate_memory
from .engine.plan import choose
from .errors import PhiError
from .gguf.checks import Array, Header, read_header
from .machine import Budget, available, show_size
from .models.files import KNOWN, ModelFile, cached, file_sha256, resolve
from .paths import show_path
from .phi import Phi
from .rendering.table import Table

_LONGEST = 200  # characters of a value of the metadata


def listing(phi: Phi) -> Table:
    """Every model known by name, cached, or loaded: what it is, what memory it needs, and whether that is there."""
    budget = available()
    files = {file.name: file for file in [*_shipped(), *cached()]}
    held = loaded()
    if held and not any(_same(held, file.path) for file in files.values()):
        files[str(held)] = ModelFile(str(held), held)
    rows = [_row(phi, files[name], budget, held) for name in files]
    rows += [
        [name, "not downloaded", show_size(known.size), "", "", "", "" if known.size < budget.bytes else "no"]
        for name, known in KNOWN.items()
        if name not in files
    ]
    headers = ["model", "where", "size", "quantisation", "context", "memory", "fits"]
    return Table(headers, rows, f"memory for n_ctx={phi.n_ctx}; there is {show_size(budget.bytes)} ({budget.source})")


def information(phi: Phi, name: str) -> Table:
    """What the GGUF of a model on this machine says of itself, with its hash and what memory it needs.

    Raises:
        PhiError: the model is not on this machine, or is no sound GGUF.
    """
    file = resolve(name, download=False)
    header = read_header(file.path)
    n_ctx = _n_ctx(phi, header)
    known = KNOWN.get(file.name)
    facts = {
        "name": header.name or "",
        "file": show_path(file.path),
        "size": show_size(header.size),
        "SHA-256": file.sha256 or file_sha256(file.path),
        "revision": file.revision or "",
        "licence": header.licence or (known.licence if known else "") or "not told",
        "architecture": header.architecture,
        "parameters": f"{header.n_params:,}",
        "quantisation": header.file_type,
        "context": f"{header.context_length:,} tokens",
        "vocabulary": f"{header.n_vocab:,} tokens",
        "layers": f"{header.n_layer}, {header.n_embd} wide, {header.n_head} heads ({header.n_head_kv} for keys)",
        "memory": f"{show_size(memory(phi, header))} for n_ctx={n_ctx}",
        "chat template": header.chat_template or "none; the form `Instruct: … Output:` is used",
    }
    told = {key: _shown(value) for key, value in header.metadata.items() if key != "tokenizer.chat_template"}
    return Table(["what", "value"], [[what, value] for what, value in {**facts, **told}.items() if value])


def memory(phi: Phi, header: Header) -> int:
    """Bytes that the model takes with a context as long as ``phi`` allows, run as this machine would."""
    plan = choose(header, n_threads=phi.n_threads, n_gpu_layers=phi.n_gpu_layers)
    need = estimate_memory(
        header,
        n_ctx=_n_ctx(phi, header),
        key_type=plan.key_type,
        value_type=plan.value_type,
        repacked=plan.repack,
        flash_attention=plan.flash_attention,
    )
    return need.total


def loaded() -> Path | None:
    """The file of the model that this process holds."""
    engine = sys.modules.get("phi_magic.engine.engine")  # not imported: nothing was ever loaded
    header: Header | None = engine.shared.header if engine else None
    return header.path if header else None


def names() -> list[str]:
    """What may be called a model's name here, for completion."""
    found: list[ModelFile] = []
    with suppress(PhiError):  # a cache that cannot be read: %phi_models says so
        found = cached()
    return [*KNOWN, *(file.name for file in found if file.name not in KNOWN)]


def _row(phi: Phi, file: ModelFile, budget: Budget, held: Path | None) -> list[str]:
    size = show_size(file.path.stat().st_size)
    try:
        header = read_header(file.path)
    except PhiError as error:
        return [file.name, "damaged", size, "", "", "", str(error)]
    in_memory = held is not None and _same(held, file.path)
    need = memory(phi, header)
    where = "loaded" if in_memory else "cached" if file.repo_id else "shipped"
    fits = "yes" if in_memory or need <= budget.bytes else "no"
    return [file.name, where, size, header.file_type, f"{header.context_length:,}", show_size(need), fits]


def _shipped() -> Iterator[ModelFile]:
    yield from (resolve(name) for name, known in KNOWN.items() if known.repo_id is None)


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _n_ctx(phi: Phi, header: Header) -> int:
    return min(phi.n_ctx, header.context_length or phi.n_ctx)


def _shown(value: object) -> str:
    if isinstance(value, Array):
        return f"{len(value):,} values"
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"
