"""From a model's name to its file: shipped, on the disk, in the hub's cache, Ollama's, LM Studio's, or on the hub.

A file on this machine is found without a request; :mod:`phi_magic.models.download` downloads any other.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import resources
from pathlib import Path

from ..errors import PhiError
from ..paths import expanded, show_path
from ..suggestions import did_you_mean
from . import hub_cache, lm_studio, ollama
from .download import download_file
from .fingerprint import file_sha256
from .hub_cache import cached
from .known import DEFAULT, HUB_NAME, KNOWN, Known, ModelFile

__all__ = [
    "DEFAULT",
    "HUB_NAME",
    "KNOWN",
    "ModelFile",
    "cached",
    "file_sha256",
    "names",
    "notice",
    "on_this_machine",
    "pull",
    "remove",
    "resolve",
]


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
    """Find the file of a model.

    A path that exists goes before a hub's name. A hub's file is looked for in huggingface_hub's cache, then in LM
    Studio's folder. Where it is in neither it is downloaded, with a progress bar. Ctrl-C keeps what has come, and the
    next call goes on from there.

    Args:
        name: a known name, a path to a GGUF, ``owner/repo/file.gguf`` on the hub, or ``ollama:MODEL``.
        download: whether to download what is not on this machine.
        notify: told in a line what is downloaded, and how large it is.
        check: called for every piece that comes; what it raises ends the download.

    Raises:
        PhiError: the model cannot be had; one line that says what to do.
    """
    source = _source(name)
    if isinstance(source, ModelFile):
        return source
    repo_id, filename = source
    found = hub_cache.find(name, repo_id, filename) or lm_studio.find(repo_id, filename)
    if found is None and download:
        download_file(hub_cache.library(), name, repo_id, filename, notify, check)
        found = hub_cache.find(name, repo_id, filename)
    if found is None:
        raise PhiError(
            f"{name} is not in the cache {show_path(hub_cache.folder())}; to download it: %phi_models pull {name}, "
            f"or in a terminal: python -m phi_magic -m {name} Hello"
        )
    return found


def pull(name: str, *, notify: Callable[[str], None] = notice) -> ModelFile:
    """Download a model where need be; a file in the hub's cache that is damaged is downloaded again.

    Raises:
        PhiError: the model cannot be had; one line that says what to do.
    """
    source = _source(name)
    if not isinstance(source, ModelFile):
        found = hub_cache.find(name, *source)
        if found and found.sha256 and found.sha256 != file_sha256(found.path):
            notify(f"{name}: the cached file is damaged; downloading it again")
            hub_cache.remove(name, *source)
    return resolve(name, notify=notify)


def remove(name: str) -> int:
    """Delete a model from huggingface_hub's cache, in every revision, and return how many bytes that freed.

    Raises:
        PhiError: it is not there, or lies outside the cache.
    """
    source = _source(name)
    if not isinstance(source, ModelFile):
        try:
            return hub_cache.remove(name, *source)
        except PhiError:
            if found := lm_studio.find(*source):
                raise PhiError(f"{name} is LM Studio's; delete it there, or the file {show_path(found.path)}") from None
            raise
    if source.place == "Ollama":
        raise PhiError(f"{name} is Ollama's; `ollama rm {name.removeprefix(ollama.PREFIX)}` deletes it")
    raise PhiError(f"{name} is not in the hub's cache; delete the file {show_path(source.path)} yourself")


def on_this_machine() -> list[ModelFile]:
    """List what programs have downloaded; of two files with one name the last is the one that `resolve` finds.

    Raises:
        PhiError: the hub's cache cannot be read.
    """
    return [*ollama.models(), *lm_studio.models(), *cached()]


def names() -> list[str]:
    """List what a model may be called here, for completion."""
    found: list[ModelFile] = []
    with suppress(PhiError):  # a cache that cannot be read: %phi_models says so
        found = on_this_machine()
    return list(dict.fromkeys([*KNOWN, *(file.name for file in found)]))


def _source(name: str) -> ModelFile | tuple[str, str]:
    """The file itself, or where on the hub it lies: repository and file."""
    if known := KNOWN.get(name):
        return (known.repo_id, known.filename) if known.repo_id else _shipped(name, known)
    if name.startswith(ollama.PREFIX):
        return ollama.find(name)
    path = expanded(name)
    if name.strip() and os.path.exists(path):  # noqa: PTH110 - Path.exists raises on a NUL
        if not _in_unicode(path):  # such a path can be neither sent to the worker nor written into a record
            raise PhiError(f"{show_path(path)}: the path is not UTF-8; rename the file, or make a link to it that is")
        if not (path.is_file() or path.is_dir()):  # a device has no end, and opening a FIFO waits for a writer
            raise PhiError(f"{show_path(path)}: is no ordinary file")
        return ModelFile(name, path.absolute(), filename=path.name)  # the worker process may be in another folder
    hub_name = HUB_NAME.fullmatch(name)
    if hub_name and not name.startswith(".") and ".." not in name.split("/"):
        return hub_name["repo"], hub_name["file"]
    if "\0" not in name and (path.is_absolute() or name.startswith((".", "~")) or name.lower().endswith(".gguf")):
        siblings = [file.name for file in path.parent.glob("*.gguf")] if path.parent.is_dir() else []
        raise PhiError(f"{show_path(name)}: no such file{did_you_mean(path.name, siblings)}")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise PhiError(f"{name} names a repository; name the file in it: {name}/FILE.gguf")
    raise PhiError(
        f"unknown model {name[:80]!r}{did_you_mean(name, KNOWN)} (there are {', '.join(KNOWN)}, owner/repo/file.gguf on "
        "the hub, ollama:MODEL, http://HOST:PORT/v1#MODEL, or the path of a GGUF file)"
    )


def _shipped(name: str, known: Known) -> ModelFile:
    path = Path(str(resources.files("phi_magic").joinpath("demo", known.filename)))
    if not path.is_file():
        raise PhiError(f"the shipped model {show_path(path)} is missing; install phi_magic again")
    return ModelFile(name, path, filename=known.filename, sha256=file_sha256(path), place="shipped")


def _in_unicode(path: Path) -> bool:
    """Whether the path can be written as UTF-8; Python holds other bytes of a name as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in str(path))
