"""From a model's name to its file: shipped, on the disk, in huggingface_hub's cache, or on the hub.

The only module that imports huggingface_hub, and not before a hub's name is asked for. A cached file is found without
a request; what is not cached is brought by :mod:`phi_magic.models.download`.
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ..errors import PhiError
from ..interrupt import Stop
from ..paths import expanded, show_path
from .download import SHA256, disk_advice, download_file, sha256_of

DEFAULT = "phi-3-mini-4k"
HUB_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)/(?P<file>[^\\]+\.gguf)", re.IGNORECASE)


@dataclass(frozen=True)
class Known:
    """A model with a name of its own; `size` in bytes, about."""

    repo_id: str | None
    filename: str
    size: int
    licence: str
    about: str


KNOWN = {
    "demo": Known(None, "phi-demo.gguf", 3_000_000, "MIT", "shipped with phi_magic: tiny, writes haiku"),
    "phi-3-mini-4k": Known(
        "microsoft/Phi-3-mini-4k-instruct-gguf",
        "Phi-3-mini-4k-instruct-q4.gguf",
        2_393_231_072,
        "MIT",
        "3.8 billion parameters, 4,096 tokens of context",
    ),
    "phi-2": Known(
        "TheBloke/phi-2-GGUF", "phi-2.Q4_K_M.gguf", 1_790_000_000, "MIT", "2.8 billion parameters, 2,048 tokens"
    ),
    "phi-4": Known(
        "microsoft/phi-4-gguf", "phi-4-q4.gguf", 9_050_000_000, "MIT", "14.7 billion parameters, 16,384 tokens"
    ),
}


@dataclass(frozen=True)
class ModelFile:
    """A model's file on this machine; `sha256` is None where nobody has told it yet (see `file_sha256`)."""

    name: str
    path: Path
    repo_id: str | None = None
    filename: str = ""
    revision: str | None = None
    sha256: str | None = None


def notice(text: str) -> None:
    """Tell the user on standard error, where neither a pipe nor an answer is disturbed."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def resolve(
    name: str,
    *,
    download: bool = True,
    notify: Callable[[str], None] = notice,
    check: Callable[[], None] = lambda: None,
) -> ModelFile:
    """The file of the model `name`: a known name, a path to a GGUF, or ``owner/repo/file.gguf`` on the hub.

    A path that exists goes before a hub's name. A file in huggingface_hub's cache is found without a request; else it
    is downloaded, unless `download` is false: `notify` hears how much, and a progress bar shows how far. Ctrl-C keeps
    what has come, and the next call goes on from there; so does whatever `check` raises, which is called meanwhile.

    Raises PhiError, one line that says what to do.
    """
    source = _source(name)
    if isinstance(source, ModelFile):
        return source
    repo_id, filename = source
    found = _in_cache(name, repo_id, filename)
    if found is None and download:
        download_file(_hub(), name, repo_id, filename, notify, check)
        found = _in_cache(name, repo_id, filename)
    if found is None:
        raise PhiError(
            f"{name} is not in the cache {show_path(_cache())}; to download it: %phi_models pull {name}, "
            f"or in a terminal: python -m phi_magic -m {name} Hello"
        )
    return found


def pull(name: str, *, notify: Callable[[str], None] = notice) -> ModelFile:
    """Download the model `name` if need be; a cached file is checked against its SHA-256 and fetched anew if damaged.

    Raises PhiError, one line that says what to do.
    """
    source = _source(name)
    if not isinstance(source, ModelFile):
        found = _in_cache(name, *source)
        if found and found.sha256 and found.sha256 != file_sha256(found.path):
            notify(f"{name}: the cached file is damaged; fetching it anew")
            remove(name)
    return resolve(name, notify=notify)


def cached() -> list[ModelFile]:
    """Every GGUF in huggingface_hub's cache, whoever put it there, by name; no request is made."""
    hub = _hub()
    try:
        repos = hub.scan_cache_dir(_cache()).repos
    except hub.errors.CacheNotFound:
        return []
    except (OSError, ValueError) as error:
        raise PhiError(f"the cache {show_path(_cache())} cannot be read: {error}") from error
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


def remove(name: str) -> int:
    """Delete the model `name` from huggingface_hub's cache, in every revision; the bytes that this freed.

    Raises PhiError when it is not there, or lies outside the cache.
    """
    source = _source(name)
    if isinstance(source, ModelFile):
        raise PhiError(f"{name} is not in the hub's cache; delete the file {show_path(source.path)} yourself")
    repo_id, filename = source
    folder = _cache() / _hub().file_download.repo_folder_name(repo_id=repo_id, repo_type="model")
    snapshots = list(folder.glob("snapshots/*"))
    entries = [path for path in (snapshot / filename for snapshot in snapshots) if os.path.lexists(path)]
    if not entries:
        raise PhiError(f"{name} is not in the cache {show_path(_cache())}")
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
            shutil.rmtree(folder)
    except OSError as error:
        raise PhiError(f"{name}: {disk_advice(error, folder)}") from error
    return freed


_digests: dict[tuple[Path, int, int], str] = {}


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, remembered while its size and time of change stay; about a second for each GB.

    Raises PhiError when the file cannot be read.
    """
    try:
        status = path.stat()
        key = (path.resolve(), status.st_size, status.st_mtime_ns)
        if key not in _digests:
            _digests[key] = sha256_of(path)
    except OSError as error:
        raise PhiError(f"{show_path(path)}: cannot be read: {error.strerror or error}") from error
    return _digests[key]


def _source(name: str) -> ModelFile | tuple[str, str]:
    """The file itself, or where on the hub it lies: repository and file."""
    if known := KNOWN.get(name):
        return (known.repo_id, known.filename) if known.repo_id else _shipped(name, known)
    path = expanded(name)
    if name.strip() and os.path.exists(path):  # noqa: PTH110 - Path.exists raises on a NUL
        return ModelFile(name, path, filename=path.name)
    hub_name = HUB_NAME.fullmatch(name)
    if hub_name and not name.startswith(".") and ".." not in name.split("/"):
        return hub_name["repo"], hub_name["file"]
    if "\0" not in name and (path.is_absolute() or name.startswith((".", "~")) or name.lower().endswith(".gguf")):
        siblings = [file.name for file in path.parent.glob("*.gguf")] if path.parent.is_dir() else []
        raise PhiError(f"{show_path(name)}: no such file{nearest(path.name, siblings)}")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise PhiError(f"{name} names a repository; name the file in it: {name}/FILE.gguf")
    raise PhiError(
        f"unknown model {name[:80]!r}{nearest(name, list(KNOWN))} "
        f"(there are {', '.join(KNOWN)}, owner/repo/file.gguf on the hub, or the path of a GGUF file)"
    )


def _shipped(name: str, known: Known) -> ModelFile:
    path = Path(str(resources.files("phi_magic").joinpath("demo", known.filename)))
    if not path.is_file():
        raise PhiError(f"the shipped model {show_path(path)} is missing; install phi_magic again")
    return ModelFile(name, path, filename=known.filename, sha256=file_sha256(path))


def nearest(name: str, names: list[str]) -> str:
    """A question after the likeliest of `names`, to end a sentence with; empty when none is near."""
    close = [other for other in names if name and other.startswith(name)]
    close += difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _hub() -> Any:
    """huggingface_hub, imported when first needed and with its telemetry off."""
    if "huggingface_hub.constants" not in sys.modules:
        # read once, at its import: without it the first call of a day asks the endpoint for /api/agent-harnesses
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
    with Stop().deferring_interrupts():  # an import that Ctrl-C breaks off may not be possible again
        import huggingface_hub
        import huggingface_hub.errors
        import huggingface_hub.file_download
        import huggingface_hub.utils

    return huggingface_hub


def _cache() -> Path:
    return Path(_hub().constants.HF_HUB_CACHE)


def _in_cache(name: str, repo_id: str, filename: str) -> ModelFile | None:
    hub = _hub()
    try:
        path = hub.try_to_load_from_cache(repo_id, filename, cache_dir=_cache())
    except ValueError as error:  # no such name can be on the hub
        raise PhiError(f"{name}: {str(error).splitlines()[0]}") from error
    except OSError as error:
        raise PhiError(f"{name}: {disk_advice(error, _cache())}") from error
    if not isinstance(path, str):
        return None
    return _model(repo_id, filename, Path(path), Path(path).parents[filename.count("/")].name)


def _model(repo_id: str, filename: str, path: Path, revision: str) -> ModelFile:
    aliases = [name for name, known in KNOWN.items() if (known.repo_id, known.filename) == (repo_id, filename)]
    # one link only: a blob can be a link again, into a store with other names
    blob = path.readlink().name if path.is_symlink() else ""
    sha256 = blob if SHA256.fullmatch(blob) else None
    return ModelFile(aliases[0] if aliases else f"{repo_id}/{filename}", path, repo_id, filename, revision, sha256)
