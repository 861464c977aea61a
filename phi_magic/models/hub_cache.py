"""Models in huggingface_hub's cache: find, list and delete them without a request.

The only module that imports huggingface_hub, and not before a hub's name is asked for.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from ..errors import PhiError
from ..interrupt import Stop
from ..paths import show_path
from .download import SHA256, disk_advice
from .known import ModelFile, model_name


def library() -> Any:
    """Import huggingface_hub, with its telemetry off."""
    if "huggingface_hub.constants" not in sys.modules:
        # The variable is read once, at the import. Without it the first call of a day (huggingface_hub 2.4) asks the
        # endpoint for /api/agent-harnesses.
        before = os.environ.get("HF_HUB_DISABLE_TELEMETRY")
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
        try:
            importlib.import_module("huggingface_hub.constants")
        except ValueError as error:  # what it reads from the environment
            raise PhiError(f"huggingface_hub: {error}; check HF_ENDPOINT and the other HF_ variables") from error
        finally:
            if before is None:
                del os.environ["HF_HUB_DISABLE_TELEMETRY"]
            else:
                os.environ["HF_HUB_DISABLE_TELEMETRY"] = before
    with Stop().interrupt_at_the_end():  # an import that Ctrl-C breaks off may not be possible again
        import huggingface_hub
        import huggingface_hub.errors
        import huggingface_hub.file_download
        import huggingface_hub.utils

    return huggingface_hub


def folder() -> Path:
    return Path(library().constants.HF_HUB_CACHE)


def find(name: str, repo_id: str, filename: str) -> ModelFile | None:
    """The cached file of a repository; None where it is not in the cache.

    Args:
        name: what the user called it, for the error.

    Raises:
        PhiError: no such name can be on the hub, or the cache cannot be read.
    """
    try:
        path = library().try_to_load_from_cache(repo_id, filename, cache_dir=folder())
    except ValueError as error:
        raise PhiError(f"{name}: {str(error).splitlines()[0]}") from error
    except OSError as error:
        raise PhiError(f"{name}: {disk_advice(error, folder())}") from error
    if not isinstance(path, str):
        return None
    return _model(repo_id, filename, Path(path), Path(path).parents[filename.count("/")].name)


def cached() -> list[ModelFile]:
    """List every GGUF in the cache, by name, whichever program put it there.

    Raises:
        PhiError: the cache cannot be read.
    """
    hub = library()
    try:
        repos = hub.scan_cache_dir(folder()).repos
    except hub.errors.CacheNotFound:
        return []
    except (OSError, ValueError) as error:
        raise PhiError(f"the cache {show_path(folder())} cannot be read: {error}") from error
    found: dict[str, ModelFile] = {}
    for repo in (repo for repo in repos if repo.repo_type == "model"):
        # the revision that main names goes last, and so prevails
        for revision in sorted(repo.revisions, key=lambda r: ("main" in r.refs, r.last_modified)):
            for file in revision.files:
                filename = file.file_path.relative_to(revision.snapshot_path).as_posix()
                if filename.lower().endswith(".gguf") and file.file_path.exists():
                    model = _model(repo.repo_id, filename, file.file_path, revision.commit_hash)
                    found[model.name] = model
    return [found[name] for name in sorted(found)]


def remove(name: str, repo_id: str, filename: str) -> int:
    """Delete a file from the cache, in every revision, and return how many bytes that freed.

    Args:
        name: what the user called it, for the error.

    Raises:
        PhiError: it is not in the cache, or cannot be deleted.
    """
    repo = folder() / library().file_download.repo_folder_name(repo_id=repo_id, repo_type="model")
    snapshots = list(repo.glob("snapshots/*"))
    entries = [path for path in (snapshot / filename for snapshot in snapshots) if os.path.lexists(path)]
    if not entries:
        raise PhiError(f"{name} is not in the cache {show_path(folder())}")
    freed = 0
    try:
        # where the system has no links, the entries are the files themselves
        doomed = {path.parent / path.readlink() if path.is_symlink() else path for path in entries}
        doomed = {Path(os.path.normpath(path)) for path in doomed}
        for path in entries:
            if path.is_symlink():
                path.unlink()
        others = (path for snapshot in snapshots for path in snapshot.rglob("*") if path.is_symlink())
        kept = {Path(os.path.normpath(path.parent / path.readlink())) for path in others}
        for path in doomed - kept:
            if path.exists():
                freed += path.stat().st_size
                path.unlink()
        if not any(path.is_file() for snapshot in snapshots for path in snapshot.rglob("*")):
            shutil.rmtree(repo)
    except OSError as error:
        raise PhiError(f"{name}: {disk_advice(error, repo)}") from error
    return freed


def _model(repo_id: str, filename: str, path: Path, revision: str) -> ModelFile:
    # one link only: a blob can be a link again, into a store with other names
    blob = path.readlink().name if path.is_symlink() else ""
    sha256 = blob if SHA256.fullmatch(blob) else None
    return ModelFile(model_name(repo_id, filename), path, repo_id, filename, revision, sha256, "cached")
