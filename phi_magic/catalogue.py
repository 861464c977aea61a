"""List the models for this machine, known by name, downloaded or loaded, and describe one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from .errors import PhiError
from .generation.request import is_address
from .machine import Budget, available, show_size
from .models.files import KNOWN, ModelFile, file_sha256, on_this_machine, resolve
from .paths import show_path
from .phi import Phi
from .rendering.table import Table


def listing(phi: Phi) -> Table:
    """List every model that is known by name, on this machine, or loaded, with the memory that it needs and whether it
    fits.
    """
    budget = available()
    files = {file.name: file for file in [*_shipped(), *on_this_machine()]}
    held = loaded()
    if held and not any(_same(held, file.path) for file in files.values()):
        here = held.relative_to(Path.cwd()) if held.is_relative_to(Path.cwd()) else held
        files[str(here)] = ModelFile(str(here), held)
    rows = [_row(phi, files[name], budget, held) for name in files]
    rows += [
        [name, "not downloaded", show_size(known.size), "", "", "", "" if known.size < budget.bytes else "no"]
        for name, known in KNOWN.items()
        if name not in files
    ]
    headers = ["model", "where", "size", "quantisation", "context", "memory", "fits"]
    return Table(headers, rows, f"memory for n_ctx={phi.n_ctx}; there is {show_size(budget.bytes)} ({budget.source})")


def served(address: str) -> Table:
    """List the models of a server, with what the server says of each.

    Raises:
        PhiError: there is no server, or none that is OpenAI-compatible.
    """
    from .interrupt import interruptible
    from .remote.remote import shared

    with interruptible() as stop:
        server = shared.models(address, stop)
    rows = [[name, "; ".join(f"{key} {value}" for key, value in said.items())] for name, said in server.models.items()]
    return Table(["model", "what the server says of it"], rows, f"{server.dialect.name} {server.version}".strip())


def information(phi: Phi, name: str) -> Table:
    """Describe a model: its GGUF's metadata, its hash and the memory that it needs; or what its server says of it.

    Raises:
        PhiError: the model is not on this machine, or is no sound GGUF.
    """
    if is_address(name):
        info = phi.describe(model=name)
        context = {"context": f"{info.context_length:,}"} if info.context_length else {}
        facts = {**info.facts, **context, **info.metadata}
        return Table(["what", "value"], [[what, value] for what, value in facts.items() if value])
    file = resolve(name, download=False)
    info = phi.describe(model=name)
    known = KNOWN.get(file.name)
    facts = {
        "name": info.facts["name"],
        "file": show_path(file.path),
        "size": show_size(info.size),
        "SHA-256": file.sha256 or file_sha256(file.path),
        "revision": file.revision or "",
        **info.facts,
        "licence": info.facts["licence"] or (known.licence if known else "") or "not told",
        "memory": f"{show_size(info.memory)} for n_ctx={info.n_ctx}",
        **info.metadata,
    }
    return Table(["what", "value"], [[what, value] for what, value in facts.items() if value])


def loaded() -> Path | None:
    """Return the file of the model that the worker process holds."""
    worker = sys.modules.get("phi_magic.generation.worker")  # not imported: nothing was ever loaded
    found: Path | None = worker.shared.loaded if worker else None
    return found


def _row(phi: Phi, file: ModelFile, budget: Budget, held: Path | None) -> list[str]:
    try:
        size = show_size(file.path.stat().st_size)
        info = phi.describe(model=str(file.path))
    except OSError as error:  # deleted after it was found, or while it is loaded
        return [file.name, "missing", "", "", "", "", error.strerror or str(error)]
    except PhiError as error:
        return [file.name, "damaged", size, "", "", "", str(error)]
    in_memory = held is not None and _same(held, file.path)
    where = "loaded" if in_memory else file.place
    fits = "yes" if in_memory or info.memory <= budget.bytes else "no"
    return [file.name, where, size, info.quantisation, f"{info.context_length:,}", show_size(info.memory), fits]


def _shipped() -> Iterator[ModelFile]:
    yield from (resolve(name) for name, known in KNOWN.items() if known.repo_id is None)


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
